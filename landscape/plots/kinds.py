"""The kinds of pictures by name: what each shows, the record it is drawn from, and the drawings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from landscape.curvature.records import CurvatureReport
from landscape.errors import UserError
from landscape.plots import collect
from landscape.plots.info import SurfaceInfo
from landscape.plots.info.curvature import FitInfo, SpectrumInfo
from landscape.plots.info.flips import FlipsInfo
from landscape.plots.info.floor import FloorInfo
from landscape.plots.info.losses import LossesInfo
from landscape.plots.info.reliability import ReliabilityInfo
from landscape.plots.info.roughness import RoughnessInfo
from landscape.plots.info.search import ConvergenceInfo, MethodsInfo
from landscape.plots.info.trajectories import TrajectoriesInfo
from landscape.plots.options import PlotOptions
from landscape.plots.paper.animation import save_animation
from landscape.plots.paper.curvature import draw_fit, draw_spectrum
from landscape.plots.paper.flips import draw_flips
from landscape.plots.paper.floor import draw_floor
from landscape.plots.paper.losses import draw_losses
from landscape.plots.paper.reliability import draw_reliability
from landscape.plots.paper.roughness import draw_roughness
from landscape.plots.paper.search import draw_convergence, draw_methods
from landscape.plots.paper.surface import draw_contours, draw_surface
from landscape.plots.paper.surface3d import draw_surface_3d
from landscape.plots.paper.trajectories import draw_trajectories
from landscape.plots.picture import Picture
from landscape.plots.records import RECORDS
from landscape.plots.screen.animation import draw_animation_interactive
from landscape.plots.screen.curvature import draw_fit_interactive, draw_spectrum_interactive
from landscape.plots.screen.flips import draw_flips_interactive
from landscape.plots.screen.floor import draw_floor_interactive
from landscape.plots.screen.losses import draw_losses_interactive
from landscape.plots.screen.reliability import draw_reliability_interactive
from landscape.plots.screen.roughness import draw_roughness_interactive
from landscape.plots.screen.search import draw_convergence_interactive, draw_methods_interactive
from landscape.plots.screen.surface import draw_contours_interactive, draw_surface_interactive
from landscape.plots.screen.trajectories import draw_trajectories_interactive
from landscape.plots.sources import Record, Source, Table
from landscape.plots.studies import Study
from landscape.plots.vtk import write_vtk

Draw = Callable[[Any, PlotOptions], Picture]


@dataclass(frozen=True)
class Kind:
    """A kind of picture.

    Attributes:
        words: What it shows.
        record: Of what sort its record is.
        collect: From runs and options to the record.
        draw: From the record and options to the picture.
    """

    words: str
    record: type
    collect: Callable[[Sequence[Source], PlotOptions], Any]
    draw: Draw


def make_picture(runs: Sequence[Source], options: PlotOptions | None = None) -> Picture:
    """The picture of some runs, or of a record that was written before (``--format json``).

    Raises:
        UserError: The kind is unknown, or the runs do not hold what it shows.
    """
    options = options or PlotOptions()
    name = options.kind or default_kind(runs)
    if name not in KINDS:
        raise UserError(f"--kind {name!r} is unknown; give one of {', '.join(KINDS)}")
    kind = KINDS[name]
    stored = next((run for run in runs if isinstance(run, Record)), None)
    if stored is None:
        return kind.draw(kind.collect(runs, options), options)
    if not isinstance(stored.info, kind.record):
        fitting = [other for other, each in KINDS.items() if isinstance(stored.info, each.record)]
        raise UserError(f"--kind {name} is not possible of the record {stored.folder}; give {' or '.join(fitting)}")
    return kind.draw(stored.info, options)


def default_kind(runs: Sequence[Source]) -> str:
    """The kind for runs when none is asked for: a surface's, or the convergence of a search."""
    for run in runs:
        if isinstance(run, Record):
            if isinstance(run.info, SurfaceInfo):
                return "line" if run.info.y is None else "heatmap"
            return next(name for name, kind in KINDS.items() if isinstance(run.info, kind.record))
        if isinstance(run, Table):
            return "roughness"
        if isinstance(run, Study):
            return "fit" if isinstance(run.report, CurvatureReport) else "reliability"
        if run.is_scan:
            return "heatmap" if run.surface.dims == 2 else "line"
    return "convergence"


def _both(paper: Callable[..., Any], screen: Callable[..., Any]) -> Draw:
    """Drawings that take the record alone, and on paper a width."""

    def draw(info: Any, options: PlotOptions) -> Picture:
        return Picture(info, lambda: paper(info, width=options.width), lambda: screen(info))

    return draw


def _of_value(paper: Callable[..., Any], screen: Callable[..., Any]) -> Draw:
    """Drawings of one value of a surface."""

    def draw(info: SurfaceInfo, options: PlotOptions) -> Picture:
        info.chosen(options.value)
        return Picture(
            info,
            lambda: paper(info, options.value, width=options.width),
            lambda: screen(info, options.value),
        )

    return draw


def _vtk(info: SurfaceInfo, options: PlotOptions) -> Picture:
    return Picture(info, None, None, {"vts": lambda path: write_vtk(info, path, options.value)})


def _film(info: TrajectoriesInfo, options: PlotOptions) -> Picture:
    film = {"gif": lambda path: save_animation(info, path, width=options.width or 5.0)}
    return Picture(info, None, lambda: draw_animation_interactive(info), film)


KINDS: Mapping[str, Kind] = {
    "line": Kind(
        "a curve with its interval and the code-flip rate below; of a grid, a cut through the centre",
        SurfaceInfo,
        collect.line,
        _of_value(draw_surface, draw_surface_interactive),
    ),
    "heatmap": Kind(
        "a grid as cells with contour lines, and top-1 beside it",
        SurfaceInfo,
        partial(collect.grid, "heatmap"),
        _of_value(draw_surface, draw_surface_interactive),
    ),
    "contour": Kind(
        "a grid as filled contours with written levels",
        SurfaceInfo,
        partial(collect.grid, "contour"),
        _of_value(draw_contours, draw_contours_interactive),
    ),
    "surface": Kind(
        "a grid in three dimensions",
        SurfaceInfo,
        partial(collect.grid, "surface"),
        _of_value(draw_surface_3d, partial(draw_surface_interactive, raised=True)),
    ),
    "losses": Kind(
        "all losses of a scan side by side: rank correlation with the first, replicating share",
        LossesInfo,
        collect.losses,
        _both(draw_losses, draw_losses_interactive),
    ),
    "floor": Kind(
        "the noise floor: surface, half-split difference, replicating part, share by wavelength",
        FloorInfo,
        collect.floor,
        _both(draw_floor, draw_floor_interactive),
    ),
    "flips": Kind(
        "the code-flip rate over the surface, and the loss against it",
        FlipsInfo,
        collect.flips,
        _both(draw_flips, draw_flips_interactive),
    ),
    "trajectories": Kind(
        "paths of searches on the surface of a scan, or on their principal components",
        TrajectoriesInfo,
        partial(collect.paths, "trajectories"),
        _both(draw_trajectories, draw_trajectories_interactive),
    ),
    "convergence": Kind(
        "the best loss so far of each method against the budget, with bands over seeds",
        ConvergenceInfo,
        collect.convergence,
        _both(draw_convergence, draw_convergence_interactive),
    ),
    "methods": Kind(
        "what each method ended with, seed by seed, on search and test images",
        MethodsInfo,
        collect.methods,
        _both(draw_methods, draw_methods_interactive),
    ),
    "animation": Kind(
        "a search as a film over the surface (gif, html)", TrajectoriesInfo, partial(collect.paths, "animation"), _film
    ),
    "roughness": Kind(
        "jaggedness of several scans by block and bit width: measured, floor, population's",
        RoughnessInfo,
        collect.roughness,
        _both(draw_roughness, draw_roughness_interactive),
    ),
    "spectrum": Kind(
        "spectral density and eigenvalues of the curvature (a file of `landscape curvature`)",
        SpectrumInfo,
        collect.spectrum,
        _both(draw_spectrum, draw_spectrum_interactive),
    ),
    "fit": Kind(
        "R^2 by radius of models of the loss (a file of `landscape curvature`)",
        FitInfo,
        collect.fit,
        _both(draw_fit, draw_fit_interactive),
    ),
    "reliability": Kind(
        "how far gradients can be trusted (a file of `landscape reliability`)",
        ReliabilityInfo,
        collect.reliability,
        _both(draw_reliability, draw_reliability_interactive),
    ),
    "vtk": Kind(
        "the surface with all values as a VTK file (.vts) for ParaView", SurfaceInfo, collect.any_surface, _vtk
    ),
}
"""All kinds, in the order of the help."""

assert {kind.record.__name__ for kind in KINDS.values()} == set(RECORDS)
