"""From run folders and files of studies to the records of what pictures show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from landscape.curvature.records import CurvatureReport
from landscape.errors import UserError
from landscape.plots.cut import cut
from landscape.plots.info import SurfaceInfo, surface_info
from landscape.plots.info.curvature import FitInfo, SpectrumInfo, fit_info, spectrum_info
from landscape.plots.info.flips import FlipsInfo, flips_info
from landscape.plots.info.floor import FloorInfo, floor_info
from landscape.plots.info.losses import LossesInfo, losses_info
from landscape.plots.info.reliability import ReliabilityInfo, reliability_info
from landscape.plots.info.roughness import RoughnessInfo, roughness_info
from landscape.plots.info.search import ConvergenceInfo, MethodsInfo, convergence_info, methods_info
from landscape.plots.info.trajectories import TrajectoriesInfo, check_same_network, trajectories_info
from landscape.plots.options import PlotOptions
from landscape.plots.sources import Source, all_trajectories, first_report, first_scan, only_runs, only_tables
from landscape.plots.titles import search_title
from landscape.reliability.records import ReliabilityReport
from landscape.roughness import jaggedness_of_values
from landscape.surface import Surface


def line(runs: Sequence[Source], options: PlotOptions) -> SurfaceInfo:
    """A line, or the cut of a grid."""
    surface = cut(_scanned(runs, "line", options), options.cut)
    return _with(surface_info(surface, surface.names, options.level, jaggedness_of_values(surface)), options)


def grid(kind: str, runs: Sequence[Source], options: PlotOptions) -> SurfaceInfo:
    """A grid, for a picture of that kind."""
    surface = _scanned(runs, kind, options)
    if surface.beta is None:
        raise UserError(f"--kind {kind} needs a grid, and this run is a line; take --kind line, or scan with --dims 2")
    return _with(surface_info(surface, surface.names, options.level, jaggedness_of_values(surface)), options)


def any_surface(runs: Sequence[Source], options: PlotOptions) -> SurfaceInfo:
    """A line or a grid."""
    surface = _scanned(runs, "vtk", options)
    return _with(surface_info(surface, surface.names, options.level), options)


def losses(runs: Sequence[Source], options: PlotOptions) -> LossesInfo:
    """All losses of a scan."""
    return losses_info(_scanned(runs, "losses", options), level=options.level)


def floor(runs: Sequence[Source], options: PlotOptions) -> FloorInfo:
    """The noise floor of a scan."""
    return floor_info(_scanned(runs, "floor", options), options.value, options.seed)


def flips(runs: Sequence[Source], options: PlotOptions) -> FlipsInfo:
    """Flip rate and loss of a scan."""
    return flips_info(_scanned(runs, "flips", options), options.value, options.level)


def paths(kind: str, runs: Sequence[Source], options: PlotOptions) -> TrajectoriesInfo:
    """Paths of searches, over a scan where there is one."""
    searches = all_trajectories(runs, kind)
    opened = only_runs(runs)
    scan = next((run for run in opened if run.is_scan), None)
    if scan is not None:
        check_same_network(scan, [run for run in opened if run.has_trajectories])
    return trajectories_info(searches, scan, options.value, "" if scan else search_title(runs), options.level)


def convergence(runs: Sequence[Source], options: PlotOptions) -> ConvergenceInfo:
    """Best losses of searches."""
    return convergence_info(all_trajectories(runs, "convergence"), search_title(runs))


def methods(runs: Sequence[Source], options: PlotOptions) -> MethodsInfo:
    """Ends of searches."""
    return methods_info(all_trajectories(runs, "methods"), options.value, search_title(runs))


def roughness(runs: Sequence[Source], options: PlotOptions) -> RoughnessInfo:
    """Roughness of scans, or of a stored table."""
    tables = [row for table in only_tables(runs) for row in table.rows]
    if not tables:
        first_scan(runs, "roughness")
    scans = [run for run in only_runs(runs) if run.is_scan]
    return roughness_info(scans, options.value, options.level, tables)


def spectrum(runs: Sequence[Source], options: PlotOptions) -> SpectrumInfo:
    """Spectra of a study of curvature."""
    return spectrum_info(first_report(runs, CurvatureReport, "spectrum", "curvature"))


def fit(runs: Sequence[Source], options: PlotOptions) -> FitInfo:
    """Fits of a study of curvature."""
    return fit_info(first_report(runs, CurvatureReport, "fit", "curvature"))


def reliability(runs: Sequence[Source], options: PlotOptions) -> ReliabilityInfo:
    """A study of gradients."""
    return reliability_info(first_report(runs, ReliabilityReport, "reliability", "reliability"))


def _scanned(runs: Sequence[Source], kind: str, options: PlotOptions) -> Surface:
    """The surface of the first scan, its settings saying what the images are."""
    surface = first_scan(runs, kind).surface
    return replace(surface, settings={**surface.settings, "images_are": options.images_are})


def _with(info: SurfaceInfo, options: PlotOptions) -> SurfaceInfo:
    """The record, once it is known to hold what is asked for."""
    info.chosen(options.value)
    return info
