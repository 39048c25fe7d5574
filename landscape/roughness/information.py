"""Information content of a surface: how varied the ups and downs of a walk across it are, at every sensitivity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from landscape.bootstrap import FloatArray
from landscape.roughness.differences import Axes, check, neighbours_along

SETTLED = 0.05
"""Entropy below which a sequence counts as settled (Muñoz et al. 2015)."""

MOST_SENSITIVITIES = 256
"""Sensitivities tried by default."""


@dataclass(frozen=True)
class InformationContent:
    """Features of Muñoz, Kirley and Halgamuge 2015 (IEEE Trans. Evol. Comput. 19(1), 74-87).

    Attributes:
        h_max: Largest entropy H over all sensitivities, 0 to 1 (equation 5): how rugged, at the sensitivity that shows
            most of it.
        eps_s: log10 of the smallest sensitivity with H < 0.05 (equation 6), the sensitivity in the value's unit per
            unit of the coordinate; minus infinity where H(0) is that small already (monotone or flat walks), NaN
            without steps.
        m0: Share of steps at which the walk turns, at sensitivity 0 (equation 7): 0 for a monotone walk, nearly 1 for
            one that goes up and down in turn. NaN with fewer than two steps.
    """

    h_max: float
    eps_s: float
    m0: float


def information_content(values: FloatArray, axes: Axes, sensitivities: FloatArray | None = None) -> InformationContent:
    """Entropy and turns of the sequence of ups, downs and levels along the grid's lines.

    A step's symbol at sensitivity e is -1, 0 or 1: the sign of the slope (difference over step), or 0 where
    |slope| < e. H(e) is the entropy to base 6 of pairs of neighbouring different symbols. The walk goes along every
    line of the grid, in both directions of a plane, and pairs are taken within a line only (**ours**: the original
    walks through a random sample). A missing point ends one walk and begins another.

    Args:
        values: Shape (n,) or (n, m).
        axes: Coordinates.
        sensitivities: Values of e, with 0 first; by default all at which a symbol changes, which gives the exact
            supremum (h_max) and infimum (eps_s) over all e; of more than 256, 256 evenly spread in rank.
    """
    slopes = _slopes(check(values, axes), axes)
    sizes = np.abs(slopes)
    known = sizes[np.isfinite(slopes)]
    if not known.size:
        return InformationContent(np.nan, np.nan, np.nan)
    if sensitivities is None:
        # Symbols are constant between critical values: at 0 no step is levelled, just above a critical value it is.
        critical = _spread(np.unique(known), MOST_SENSITIVITIES)
        at = np.append(0.0, critical)
        level = np.vstack([np.zeros(slopes.shape, dtype=bool), sizes <= critical[:, None]])
    else:
        at = np.asarray(sensitivities, dtype=np.float64)
        level = sizes < at[:, None]
    entropy = _entropy(slopes, level)
    settled = at[entropy < SETTLED]
    with np.errstate(divide="ignore"):
        eps_s = float(np.log10(settled.min())) if settled.size else np.nan
    return InformationContent(float(entropy.max()), eps_s, _turns(slopes))


def _spread(numbers: FloatArray, most: int) -> FloatArray:
    """At most `most` of sorted numbers, evenly spread in rank, first and last among them."""
    if len(numbers) <= most:
        return numbers
    return np.asarray(numbers[np.linspace(0, len(numbers) - 1, most).round().astype(int)])


def _slopes(values: FloatArray, axes: Axes) -> FloatArray:
    """Slopes along all lines one after another, a NaN behind each line."""
    parts = []
    for lines, axis in zip(neighbours_along(values, axes), axes, strict=True):
        slopes = np.diff(lines, axis=0) / np.diff(axis)[:, None]
        parts.append(np.vstack([slopes, np.full((1, slopes.shape[1]), np.nan)]).T.ravel())
    return np.concatenate(parts)


def _entropy(slopes: FloatArray, level: npt.NDArray[np.bool_]) -> FloatArray:
    """H (equation 2 of the paper) for each row of `level`, which says the steps whose symbol is 0; NaN parts walks."""
    signs = np.where(np.isfinite(slopes), np.sign(slopes), 9).astype(np.int8)
    symbols = np.where(level, np.int8(0), signs)
    codes = 3 * symbols[:, :-1] + symbols[:, 1:]  # -4 to 4 for pairs of symbols, far outside with a NaN
    pairs = np.count_nonzero(np.isfinite(slopes[:-1]) & np.isfinite(slopes[1:]))
    total = np.zeros(len(symbols))
    for code in (-3, -2, -1, 1, 2, 3):  # the two symbols differ
        share = np.count_nonzero(codes == code, axis=1) / max(pairs, 1)
        total -= share * np.log(np.where(share > 0, share, 1.0)) / np.log(6.0)
    return np.maximum(total, 0.0)


def _turns(slopes: npt.NDArray[np.float64]) -> float:
    """M(0): changes of sign, levels left out, over the number of steps that could have changed it."""
    turns = possible = 0
    for walk in np.split(slopes, np.flatnonzero(~np.isfinite(slopes))):
        steps = walk[np.isfinite(walk)]
        signs = np.sign(steps[steps != 0.0])
        turns += int((signs[1:] != signs[:-1]).sum())
        possible += max(len(steps) - 1, 0)
    return turns / possible if possible else np.nan
