"""The kinds of pictures by name: what each shows, and how it is made of run folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from landscape.curvature.records import CurvatureReport
from landscape.errors import UserError
from landscape.plots.cut import cut
from landscape.plots.info import SurfaceInfo, surface_info
from landscape.plots.info.curvature import fit_info, spectrum_info
from landscape.plots.info.flips import flips_info
from landscape.plots.info.floor import floor_info
from landscape.plots.info.losses import losses_info
from landscape.plots.info.reliability import reliability_info
from landscape.plots.info.roughness import roughness_info
from landscape.plots.info.search import convergence_info, methods_info
from landscape.plots.info.trajectories import TrajectoriesInfo, check_same_network, trajectories_info
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
from landscape.plots.sources import Source, all_trajectories, first_report, first_scan, only_runs
from landscape.plots.studies import Study
from landscape.plots.titles import search_title
from landscape.plots.vtk import write_vtk
from landscape.reliability.records import ReliabilityReport
from landscape.surface import Surface


@dataclass(frozen=True)
class PlotOptions:
    """What a picture shows.

    Attributes:
        kind: Of picture; `landscape plot --list` tells what each shows. By default line or heatmap, as the run is.
        value: What is shown of each point: loss, top1, infonce, flip_rate, or another loss of the run.
        cut: Of a grid, the line through the centre along direction 1 or 2, for --kind line.
        level: Coverage of intervals.
        seed: Of random halves of the images.
        images_are: What the images are, for labels, in place of "test" (of the split val) or "training", for folders
            whose val holds something else.
        width: Inches; by default a column (3.5) or a page (7.2) of a paper.
    """

    kind: str | None = None
    value: str = "loss"
    cut: int = 1
    level: float = 0.95
    seed: int = 0
    images_are: str | None = None
    width: float | None = None

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in KINDS:
            raise UserError(f"--kind {self.kind!r} is unknown; give one of {', '.join(KINDS)}")
        if not 0 < self.level < 1:
            raise UserError(f"--level {self.level:g} is no coverage; give a number between 0 and 1, such as 0.95")
        if self.width is not None and not 1 <= self.width <= 40:
            raise UserError(f"--width {self.width:g} is not possible; give 1 to 40 inches")


@dataclass(frozen=True)
class Kind:
    """A kind of picture.

    Attributes:
        words: What it shows.
        make: From runs and options to the picture.
    """

    words: str
    make: Callable[[Sequence[Source], PlotOptions], Picture]


def make_picture(runs: Sequence[Source], options: PlotOptions | None = None) -> Picture:
    """The picture of some runs.

    Raises:
        UserError: The runs do not hold what the kind shows.
    """
    options = options or PlotOptions()
    kind = options.kind or default_kind(runs)
    return KINDS[kind].make(runs, options)


def default_kind(runs: Sequence[Source]) -> str:
    """The kind for runs when none is asked for: a surface's, or the convergence of a search."""
    for run in runs:
        if isinstance(run, Study):
            return "fit" if isinstance(run.report, CurvatureReport) else "reliability"
        if run.is_scan:
            return "heatmap" if run.surface.dims == 2 else "line"
    return "convergence"


def _scanned(runs: Sequence[Source], kind: str, options: PlotOptions) -> Surface:
    """The surface of the first scan, its settings saying what the images are."""
    surface = first_scan(runs, kind).surface
    return replace(surface, settings={**surface.settings, "images_are": options.images_are})


def _line(runs: Sequence[Source], options: PlotOptions) -> Picture:
    surface = _scanned(runs, "line", options)
    info = surface_info(cut(surface, options.cut), surface.names, options.level)
    return _of_surface(info, options)


def _heat_map(runs: Sequence[Source], options: PlotOptions) -> Picture:
    return _of_surface(_grid_info(runs, options, "heatmap"), options)


def _contour(runs: Sequence[Source], options: PlotOptions) -> Picture:
    info = _grid_info(runs, options, "contour")
    info.chosen(options.value)
    return Picture(
        info,
        lambda: draw_contours(info, options.value, width=options.width),
        lambda: draw_contours_interactive(info, options.value),
    )


def _surface(runs: Sequence[Source], options: PlotOptions) -> Picture:
    info = _grid_info(runs, options, "surface")
    info.chosen(options.value)
    return Picture(
        info,
        lambda: draw_surface_3d(info, options.value, width=options.width),
        lambda: draw_surface_interactive(info, options.value, raised=True),
    )


def _losses(runs: Sequence[Source], options: PlotOptions) -> Picture:
    info = losses_info(_scanned(runs, "losses", options), level=options.level)
    return Picture(info, lambda: draw_losses(info, width=options.width), lambda: draw_losses_interactive(info))


def _floor(runs: Sequence[Source], options: PlotOptions) -> Picture:
    info = floor_info(_scanned(runs, "floor", options), options.value, options.seed)
    return Picture(info, lambda: draw_floor(info, width=options.width), lambda: draw_floor_interactive(info))


def _flips(runs: Sequence[Source], options: PlotOptions) -> Picture:
    info = flips_info(_scanned(runs, "flips", options), options.value, options.level)
    return Picture(info, lambda: draw_flips(info, width=options.width), lambda: draw_flips_interactive(info))


def _vtk(runs: Sequence[Source], options: PlotOptions) -> Picture:
    surface = _scanned(runs, "vtk", options)
    info = surface_info(surface, surface.names, options.level)
    info.chosen(options.value)
    return Picture(info, None, None, {"vts": lambda path: write_vtk(info, path, options.value)})


def _grid_info(runs: Sequence[Source], options: PlotOptions, kind: str) -> SurfaceInfo:
    surface = _scanned(runs, kind, options)
    if surface.beta is None:
        raise UserError(f"--kind {kind} needs a grid, and this run is a line; take --kind line, or scan with --dims 2")
    return surface_info(surface, surface.names, options.level)


def _of_surface(info: SurfaceInfo, options: PlotOptions) -> Picture:
    info.chosen(options.value)
    return Picture(
        info,
        lambda: draw_surface(info, options.value, width=options.width),
        lambda: draw_surface_interactive(info, options.value),
    )


def _trajectories(runs: Sequence[Source], options: PlotOptions) -> Picture:
    info = _paths(runs, options, "trajectories")
    return Picture(
        info, lambda: draw_trajectories(info, width=options.width), lambda: draw_trajectories_interactive(info)
    )


def _animation(runs: Sequence[Source], options: PlotOptions) -> Picture:
    info = _paths(runs, options, "animation")
    film = {"gif": lambda path: save_animation(info, path, width=options.width or 5.0)}
    return Picture(info, None, lambda: draw_animation_interactive(info), film)


def _paths(runs: Sequence[Source], options: PlotOptions, kind: str) -> TrajectoriesInfo:
    searches = all_trajectories(runs, kind)
    opened = only_runs(runs)
    scan = next((run for run in opened if run.is_scan), None)
    if scan is not None:
        check_same_network(scan, [run for run in opened if run.has_trajectories])
    return trajectories_info(searches, scan, options.value, search_title(runs), options.level)


def _convergence(runs: Sequence[Source], options: PlotOptions) -> Picture:
    info = convergence_info(all_trajectories(runs, "convergence"), search_title(runs))
    return Picture(
        info, lambda: draw_convergence(info, width=options.width), lambda: draw_convergence_interactive(info)
    )


def _methods(runs: Sequence[Source], options: PlotOptions) -> Picture:
    info = methods_info(all_trajectories(runs, "methods"), options.value, search_title(runs))
    return Picture(info, lambda: draw_methods(info, width=options.width), lambda: draw_methods_interactive(info))


def _roughness(runs: Sequence[Source], options: PlotOptions) -> Picture:
    first_scan(runs, "roughness")
    info = roughness_info([run for run in only_runs(runs) if run.is_scan], options.value, options.level)
    return Picture(info, lambda: draw_roughness(info, width=options.width), lambda: draw_roughness_interactive(info))


def _spectrum(runs: Sequence[Source], options: PlotOptions) -> Picture:
    info = spectrum_info(first_report(runs, CurvatureReport, "spectrum", "curvature"))
    return Picture(info, lambda: draw_spectrum(info, width=options.width), lambda: draw_spectrum_interactive(info))


def _fit(runs: Sequence[Source], options: PlotOptions) -> Picture:
    info = fit_info(first_report(runs, CurvatureReport, "fit", "curvature"))
    return Picture(info, lambda: draw_fit(info, width=options.width), lambda: draw_fit_interactive(info))


def _reliability(runs: Sequence[Source], options: PlotOptions) -> Picture:
    info = reliability_info(first_report(runs, ReliabilityReport, "reliability", "reliability"))
    return Picture(
        info, lambda: draw_reliability(info, width=options.width), lambda: draw_reliability_interactive(info)
    )


KINDS: Mapping[str, Kind] = {
    "line": Kind("a curve with its interval and the code-flip rate below; of a grid, a cut through the centre", _line),
    "heatmap": Kind("a grid as cells with contour lines, and top-1 beside it", _heat_map),
    "contour": Kind("a grid as filled contours with written levels", _contour),
    "surface": Kind("a grid in three dimensions", _surface),
    "losses": Kind("all losses of a scan side by side: rank correlation with the first, replicating share", _losses),
    "floor": Kind("the noise floor: surface, half-split difference, replicating part, share by wavelength", _floor),
    "flips": Kind("the code-flip rate over the surface, and the loss against it", _flips),
    "trajectories": Kind("paths of searches on the surface of a scan, or on their principal components", _trajectories),
    "convergence": Kind("the best loss so far of each method against the budget, with bands over seeds", _convergence),
    "methods": Kind("what each method ended with, seed by seed, on search and test images", _methods),
    "animation": Kind("a search as a film over the surface (gif, html)", _animation),
    "roughness": Kind("jaggedness of several scans by block and bit width: measured, floor, population's", _roughness),
    "spectrum": Kind("spectral density and eigenvalues of the curvature (a file of `landscape curvature`)", _spectrum),
    "fit": Kind("R^2 by radius of models of the loss (a file of `landscape curvature`)", _fit),
    "reliability": Kind("how far gradients can be trusted (a file of `landscape reliability`)", _reliability),
    "vtk": Kind("the surface with all values as a VTK file (.vts) for ParaView", _vtk),
}
"""All kinds, in the order of the help."""
