"""How methods look: one colour, marker and line for each, in every picture the same."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Okabe and Ito's palette (without its yellow, which paper loses), then darker and greyer ones of the same hues.
_PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#8C564B",
    "#7A7A7A",
    "#5B3FA0",
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_LINES = ("-", "--", "-.", ":")
_SCREEN_MARKERS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "<": "triangle-left",
    ">": "triangle-right",
    "*": "star",
}
_SCREEN_LINES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}


@dataclass(frozen=True)
class Look:
    """How a method is drawn.

    Attributes:
        colour: Hex, told apart by colour-blind readers; the lightness differs too, for print without colour.
        marker: Of matplotlib.
        line: Line style of matplotlib.
    """

    colour: str
    marker: str
    line: str

    @property
    def screen_marker(self) -> str:
        """The same marker in plotly's words."""
        return _SCREEN_MARKERS[self.marker]

    @property
    def screen_line(self) -> str:
        """The same line in plotly's words."""
        return _SCREEN_LINES[self.line]


_KNOWN: Mapping[str, Look] = {
    "evolq": Look("#D55E00", "o", "-"),
    "evolq (ours)": Look("#D55E00", "o", "-"),
    "evolq (released)": Look("#D55E00", "D", "--"),
    "random": Look("#7A7A7A", "X", ":"),
    "omse": Look("#000000", "*", "--"),
    "start": Look("#000000", "P", ":"),
    "adam": Look("#0072B2", "s", "-"),
    "adamw": Look("#0072B2", "s", "--"),
    "sgd": Look("#56B4E9", "D", "-"),
    "spsa": Look("#56B4E9", "D", "--"),
    "hessian": Look("#CC79A7", "^", "-"),
    "hessian (tokens)": Look("#CC79A7", "^", "-"),
    "hessian (inputs)": Look("#CC79A7", "P", "--"),
    "hessian (diagonal)": Look("#CC79A7", ">", "-."),
    "ptq4vit": Look("#000000", "v", "-"),
    "newton": Look("#CC79A7", "^", "--"),
    "fisher": Look("#CC79A7", "^", ":"),
    "cmaes": Look("#009E73", "v", "-"),
    "sep-cmaes": Look("#009E73", "v", "--"),
    "coordinate": Look("#E69F00", "P", "-"),
}
"""Looks of the methods of this project; presets of a method share its colour and differ in their line."""


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each method of a picture, all different.

    A known method always has the same one, and so has a known preset such as ``evolq (released)``. Any other preset
    has its method's colour, and a line of its own where the two are in one picture. Any other name gets a look that
    depends on its letters, or the next free one where two of a picture would meet.

    Args:
        names: Of methods, or of methods with a preset behind them.
    """
    found: dict[str, Look] = {}
    for name in sorted(dict.fromkeys(names), key=lambda name: _key(name) not in _KNOWN):
        wanted = _wanted(name)
        while wanted in found.values():
            wanted = _next(wanted)
        found[name] = wanted
    return found


def _wanted(name: str) -> Look:
    key = _key(name)
    base = key.split("(")[0].split("/")[0].strip()
    look = _KNOWN.get(key) or _KNOWN.get(base)
    if look is not None:
        return look
    number = zlib.crc32(key.encode())
    return Look(_PALETTE[number % len(_PALETTE)], _MARKERS[number // 16 % len(_MARKERS)], _LINES[0])


def _key(name: str) -> str:
    """A name as `_KNOWN` has it, without "selected on the test set" behind it."""
    return name.casefold().replace("_", "-").split(",")[0].strip()


def _next(look: Look) -> Look:
    """Another line of the same colour, then the next colour."""
    line = _LINES.index(look.line) + 1
    if line < len(_LINES):
        return Look(look.colour, _MARKERS[(_MARKERS.index(look.marker) + 3) % len(_MARKERS)], _LINES[line])
    colour = (_PALETTE.index(look.colour) + 1) % len(_PALETTE)
    return Look(_PALETTE[colour], _MARKERS[(_MARKERS.index(look.marker) + 1) % len(_MARKERS)], _LINES[0])
