"""Records of what pictures show: arrays, labels, units and provenance; computed once, drawn by any library."""

from landscape.plots.info.surface import SurfaceInfo, ValueInfo, few_levels, surface_info
from landscape.plots.info.words import VALUE_TEXTS, ValueText, percent, value_text, written

__all__ = [
    "VALUE_TEXTS",
    "SurfaceInfo",
    "ValueInfo",
    "ValueText",
    "few_levels",
    "percent",
    "surface_info",
    "value_text",
    "written",
]
