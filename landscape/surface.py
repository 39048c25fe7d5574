"""The surface: values of a quantized network on a grid of scale perturbations, with the images behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from landscape.bootstrap import FloatArray, bootstrap_interval
from landscape.errors import UserError

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

    from landscape.roughness.records import NoiseFloor, Replication, Roughness

VALUE_NAMES = ("loss", "top1", "infonce", "flip_rate")
"""Values of a scan, in the order of the columns of a table."""

BETTER: Mapping[str, int] = {"loss": -1, "top1": +1, "infonce": -1, "mse": -1, "kl": -1, "cosine": -1, "fisher": -1}
"""+1 where a higher value is better, -1 where a lower one is. A flip rate is neither good nor bad."""


@dataclass(frozen=True)
class SurfacePoint:
    """One point of a surface.

    Attributes:
        index: Position on the grid, (i,) or (i, j).
        alpha: Coordinate along d1.
        beta: Coordinate along d2; None on a line.
        values: Every value there, in the units of `Surface.values`.
    """

    index: tuple[int, ...]
    alpha: float
    beta: float | None
    values: Mapping[str, float]


@dataclass(frozen=True, eq=False, repr=False)
class Surface:
    """Values on a line or a grid of points s = s0 exp(alpha d1 + beta d2), d1 and d2 of unit RMS.

    Attributes:
        alpha: Coordinates along d1, shape (n,), increasing; 0.0, the centre, is one of them.
        beta: Coordinates along d2, shape (m,), likewise; None in one dimension.
        values: Means over the test images, each of shape (n,) or (n, m), value[i, j] at (alpha[i], beta[j]); NaN where
            a point is not computed. `loss`: cross-entropy in nats; `top1`: percent; `infonce`: nats, times 2T;
            `flip_rate`: share of integer codes that differ from the centre's, 0 to 1.
        per_image: The values of the single images, each of shape (n, N) or (n, m, N). Their mean over N is the value,
            except for `top1`, which is 0.0 or 1.0 here. Read only when an interval is asked for, so that a mapping
            that loads an entry on access serves as well as a dict.
        settings: Settings of the run, for titles and tables.
        reference: Values of reference networks in the units of `values`, e.g. {"float": {"loss": .., "top1": ..}}.

    Raises:
        ValueError: If coordinates do not increase or lack the centre, or a value does not have the grid's shape.
    """

    alpha: FloatArray
    beta: FloatArray | None
    values: Mapping[str, FloatArray]
    per_image: Mapping[str, FloatArray] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    reference: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Bring everything to float64 and check the shapes."""
        object.__setattr__(self, "alpha", _coordinates(self.alpha, "alpha"))
        if self.beta is not None:
            object.__setattr__(self, "beta", _coordinates(self.beta, "beta"))
        values = {name: np.asarray(value, dtype=np.float64) for name, value in self.values.items()}
        for name, value in values.items():
            if value.shape != self.shape:
                raise ValueError(f"value '{name}' has shape {value.shape}; the grid has shape {self.shape}")
        object.__setattr__(self, "values", values)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the values, in the order of a table's columns."""
        return _in_table_order(self.values)

    @property
    def dims(self) -> int:
        """Number of directions, 1 or 2."""
        return len(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Points along each direction, (n,) or (n, m)."""
        return (len(self.alpha),) if self.beta is None else (len(self.alpha), len(self.beta))

    @property
    def computed(self) -> npt.NDArray[np.bool_]:
        """Which points have been computed, of the grid's shape: those where any value is not NaN."""
        computed = np.zeros(self.shape, dtype=bool)
        for value in self.values.values():
            computed |= ~np.isnan(value)
        return computed

    @property
    def complete(self) -> bool:
        """Whether every point has been computed. A point whose loss is NaN is computed if its flip rate is known."""
        return bool(self.computed.all())

    @property
    def centre_index(self) -> tuple[int, ...]:
        """Position of the calibrated network, where all coordinates are zero."""
        axes = [self.alpha] if self.beta is None else [self.alpha, self.beta]
        return tuple(int(np.flatnonzero(axis == 0.0)[0]) for axis in axes)

    def to_dataframe(self) -> pd.DataFrame:
        """A tidy table: one row a point, columns alpha, beta (NaN on a line) and every value."""
        beta = np.array([np.nan]) if self.beta is None else self.beta
        alphas, betas = np.meshgrid(self.alpha, beta, indexing="ij")
        table = pd.DataFrame({"alpha": alphas.ravel(), "beta": betas.ravel()})
        for name in _in_table_order(self.values):
            table[name] = self.values[name].ravel()
        return table

    def to_csv(self, path: str | Path) -> None:
        """Write `to_dataframe` with all digits; NaN is an empty field.

        Raises:
            UserError: If the file cannot be written.
        """
        try:
            self.to_dataframe().to_csv(path, index=False)
        except OSError as error:
            raise UserError(f"cannot write the table {path}: {error.strerror or error}; choose another path") from error

    def point(self, *index: int) -> SurfacePoint:
        """The point at a position on the grid."""
        beta = None if self.beta is None else float(self.beta[index[1]])
        values = {name: float(value[index]) for name, value in self.values.items()}
        return SurfacePoint(tuple(index), float(self.alpha[index[0]]), beta, values)

    def best(self, value: str = "loss") -> SurfacePoint:
        """The computed point with the lowest loss or infonce, or the highest top1; of equals, the nearest the centre.

        The best of many points on one sample of images is partly luck: look at `interval` before believing it.

        Raises:
            UserError: If there is no such value, it has no better or worse, or no point is computed.
        """
        return self._extreme(value, sign=+1)

    def worst(self, value: str = "loss") -> SurfacePoint:
        """The opposite of `best`, with the same rule for equals and the same errors."""
        return self._extreme(value, sign=-1)

    def spread(self, value: str = "loss") -> dict[str, float]:
        """Minimum, maximum, sd (of the grid's points as they are, divisor n) and range over the computed points.

        Raises:
            UserError: If there is no such value, or no point is computed.
        """
        computed = self._computed(value)
        low, high = float(computed.min()), float(computed.max())
        return {"min": low, "max": high, "sd": float(computed.std()), "range": high - low}

    def interval(
        self, value: str = "loss", level: float = 0.95, draws: int = 1000, seed: int = 0
    ) -> tuple[FloatArray, FloatArray]:
        """Paired bootstrap interval, over images, of each point's mean minus the centre's mean.

        Paired: a draw takes the same images at the point and at the centre, so whatever makes an image hard at both
        cancels, and the interval is that of the *difference*, exactly zero wide at the centre. All points share the
        draws. It tells how other images from the same source could move the difference, one point at a time: over
        many points, some intervals miss zero by chance. The infonce of an image depends on the other images of its
        batch; resampling treats the per-image values as exchangeable and leaves the batches as they were.

        Args:
            value: `loss`, `top1`, `infonce`, or another value with per-image data.
            level: Coverage, between 0 and 1.
            draws: Number of resamples.
            seed: Seed of the resamples.

        Returns:
            Low and high, of the grid's shape, in the value's unit (percentage points for top1); NaN where a point or
            the centre is not computed.

        Raises:
            UserError: If the value has no per-image data.
            ValueError: If the per-image data does not fit the grid, or level or draws is out of range.
        """
        low, high = bootstrap_interval(self._differences(value), level, draws, seed)
        return low.reshape(self.shape), high.reshape(self.shape)

    def standard_error(self, value: str = "loss") -> FloatArray:
        """Paired standard error of each point's mean minus the centre's: sd(differences, N - 1) / sqrt(N).

        Shape of the grid, unit of the value (percentage points for top1); NaN where a point or the centre is not
        computed, and for a single image. Raises as `interval` does.
        """
        differences = self._differences(value)
        images = differences.shape[1]
        if images < 2:
            return np.full(self.shape, np.nan)
        finite = np.isfinite(differences).all(axis=1)
        errors = np.full(len(differences), np.nan)
        errors[finite] = differences[finite].std(axis=1, ddof=1) / np.sqrt(images)
        return errors.reshape(self.shape)

    def roughness(
        self, value: str = "loss", *, images: int | None = None, level: float = 0.95, draws: int = 1000, seed: int = 0
    ) -> Roughness:
        """Measures of roughness with intervals and floors; see `landscape.roughness.roughness`."""
        from landscape.roughness import roughness

        return roughness(self, value, images=images, level=level, draws=draws, seed=seed)

    def noise_floor(
        self, value: str = "loss", *, images: int | None = None, level: float = 0.95, seed: int = 0
    ) -> NoiseFloor:
        """How much of the roughness is the population's; see `landscape.roughness.noise_floor`."""
        from landscape.roughness import noise_floor

        return noise_floor(self, value, images=images, level=level, seed=seed)

    def replication(
        self, value: str = "loss", *, images: int | None = None, splits: int = 200, seed: int = 0
    ) -> Replication:
        """Agreement of disjoint halves of the images; see `landscape.roughness.replication`."""
        from landscape.roughness import replication

        return replication(self, value, images=images, splits=splits, seed=seed)

    def plot(self, value: str = "loss", *, width: float | None = None) -> Figure:
        """Draw for paper: a curve with its interval, or a heat map with contours.

        Args:
            value: What to show; a heat map gets top1 beside it (loss beside top1).
            width: Width in inches; by default that of a column (1D) or of a page (2D).

        Raises:
            UserError: If there is no such value.
        """
        from landscape.plots import draw_surface, surface_info  # matplotlib only where something is drawn

        self._known(value)
        return draw_surface(surface_info(self, _in_table_order(self.values)), value, width=width)

    def plotly(self, value: str = "loss") -> go.Figure:
        """Draw for the screen: buttons choose the value (`value` first), pointing at a point shows its numbers.

        Raises:
            UserError: If there is no such value.
        """
        from landscape.plots import draw_surface_interactive, surface_info

        self._known(value)
        return draw_surface_interactive(surface_info(self, _in_table_order(self.values)), value)

    def __repr__(self) -> str:
        """One line: grid, computed points, range."""
        size = " x ".join(str(n) for n in self.shape)
        reach = f"alpha {self.alpha[0]:g} to {self.alpha[-1]:g}"
        return f"Surface({size} points, {self.computed.sum()} computed, {reach}, values {', '.join(self.values)})"

    def _repr_html_(self) -> str:
        """Numbers and settings, for notebooks."""
        from landscape.plots import summary_html

        return summary_html(self)

    def _known(self, value: str) -> FloatArray:
        if value not in self.values:
            raise UserError(f"this surface has no value '{value}'; it has {', '.join(self.values) or 'none'}")
        return self.values[value]

    def _computed(self, value: str) -> FloatArray:
        known = self._known(value)
        computed = known[~np.isnan(known)]
        if not computed.size:
            raise UserError(f"no point of this surface has a {value} yet; let the scan compute at least one")
        return computed

    def _extreme(self, value: str, sign: int) -> SurfacePoint:
        computed = self._computed(value)
        if value not in BETTER:
            raise UserError(f"'{value}' has no better or worse; choose one of {', '.join(BETTER)}")
        target = computed.max() if sign * BETTER[value] > 0 else computed.min()
        candidates = np.argwhere(self.values[value] == target)
        steps = np.abs(candidates - np.array(self.centre_index)).sum(axis=1)
        return self.point(*(int(i) for i in candidates[np.argmin(steps)]))

    def _differences(self, value: str) -> FloatArray:
        """Per-image values minus the centre's, shape (points, N), in the value's unit."""
        if value not in self.per_image:
            names = ", ".join(self.per_image) or "none"
            raise UserError(f"this surface keeps no per-image '{value}'; it keeps {names}")
        samples = np.asarray(self.per_image[value], dtype=np.float64)
        if samples.shape[:-1] != self.shape:
            raise ValueError(f"per-image '{value}' has shape {samples.shape}; expected {self.shape} and the images")
        with np.errstate(invalid="ignore"):  # an infinite loss at both points leaves NaN, which is what it is worth
            differences: FloatArray = samples - samples[self.centre_index]
        if value == "top1":
            differences *= 100.0
        return differences.reshape(int(np.prod(self.shape)), samples.shape[-1])


def _coordinates(axis: FloatArray, name: str) -> FloatArray:
    """Checked coordinates: one-dimensional, finite, increasing, with the centre."""
    axis = np.asarray(axis, dtype=np.float64)
    if axis.ndim != 1 or not np.isfinite(axis).all() or (np.diff(axis) <= 0).any() or 0.0 not in axis:
        raise ValueError(f"{name} must be a vector of increasing finite coordinates that holds 0.0; it is {axis!r}")
    return axis


def _in_table_order(values: Mapping[str, FloatArray]) -> tuple[str, ...]:
    known = [name for name in VALUE_NAMES if name in values]
    return (*known, *(name for name in values if name not in VALUE_NAMES))
