"""Pictures: first a record of what is shown (``floor_info``), then a drawing of the record (``draw_floor``).

Every kind has a function that collects its record, one that draws it for print (matplotlib), and one that draws it for
the screen (plotly, ``draw_..._interactive``). `landscape plot` does the same from run folders.
"""

from landscape.plots.below import surface_below
from landscape.plots.cut import cut
from landscape.plots.info import SurfaceInfo, ValueInfo, surface_info
from landscape.plots.info.curvature import fit_info, spectrum_info
from landscape.plots.info.flips import flips_info
from landscape.plots.info.floor import floor_info
from landscape.plots.info.losses import losses_info
from landscape.plots.info.reliability import reliability_info
from landscape.plots.info.search import convergence_info, methods_info
from landscape.plots.info.trajectories import trajectories_info
from landscape.plots.kinds import make_picture
from landscape.plots.options import PlotOptions
from landscape.plots.page import save_surface, summary_html, surface_page, trajectory_html
from landscape.plots.paper.animation import save_animation
from landscape.plots.paper.curvature import draw_fit, draw_spectrum
from landscape.plots.paper.flips import draw_flips
from landscape.plots.paper.floor import draw_floor
from landscape.plots.paper.losses import draw_losses
from landscape.plots.paper.reliability import draw_reliability
from landscape.plots.paper.search import draw_convergence, draw_methods
from landscape.plots.paper.surface import draw_contours, draw_surface
from landscape.plots.paper.surface3d import draw_surface_3d
from landscape.plots.paper.trajectories import draw_trajectories
from landscape.plots.records import load_record, save_record
from landscape.plots.runs import Run
from landscape.plots.screen.animation import draw_animation_interactive
from landscape.plots.screen.curvature import draw_fit_interactive, draw_spectrum_interactive
from landscape.plots.screen.flips import draw_flips_interactive
from landscape.plots.screen.floor import draw_floor_interactive
from landscape.plots.screen.losses import draw_losses_interactive
from landscape.plots.screen.reliability import draw_reliability_interactive
from landscape.plots.screen.search import draw_convergence_interactive, draw_methods_interactive
from landscape.plots.screen.surface import draw_contours_interactive, draw_surface_interactive
from landscape.plots.screen.trajectories import draw_trajectories_interactive
from landscape.plots.sources import open_source
from landscape.plots.vtk import write_vtk

__all__ = [
    "PlotOptions",
    "Run",
    "SurfaceInfo",
    "ValueInfo",
    "convergence_info",
    "cut",
    "draw_animation_interactive",
    "draw_contours",
    "draw_contours_interactive",
    "draw_convergence",
    "draw_convergence_interactive",
    "draw_fit",
    "draw_fit_interactive",
    "draw_flips",
    "draw_flips_interactive",
    "draw_floor",
    "draw_floor_interactive",
    "draw_losses",
    "draw_losses_interactive",
    "draw_methods",
    "draw_methods_interactive",
    "draw_reliability",
    "draw_reliability_interactive",
    "draw_spectrum",
    "draw_spectrum_interactive",
    "draw_surface",
    "draw_surface_3d",
    "draw_surface_interactive",
    "draw_trajectories",
    "draw_trajectories_interactive",
    "fit_info",
    "flips_info",
    "floor_info",
    "load_record",
    "losses_info",
    "make_picture",
    "methods_info",
    "open_source",
    "reliability_info",
    "save_animation",
    "save_record",
    "save_surface",
    "spectrum_info",
    "summary_html",
    "surface_below",
    "surface_info",
    "surface_page",
    "trajectories_info",
    "trajectory_html",
    "write_vtk",
]
