"""Drawings for the screen, by plotly."""

from landscape.plots.screen.surface import draw_surface_interactive

__all__ = ["draw_surface_interactive"]
