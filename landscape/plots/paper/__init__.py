"""Drawings for print, by matplotlib."""

from landscape.plots.paper.surface import draw_surface

__all__ = ["draw_surface"]
