"""Pictures: first a record of what is shown (`surface_info`), then a drawing of the record."""

from landscape.plots.info import SurfaceInfo, ValueInfo, surface_info
from landscape.plots.page import save_surface, summary_html, surface_page
from landscape.plots.paper import draw_surface
from landscape.plots.screen import draw_surface_interactive

__all__ = [
    "SurfaceInfo",
    "ValueInfo",
    "draw_surface",
    "draw_surface_interactive",
    "save_surface",
    "summary_html",
    "surface_info",
    "surface_page",
]
