"""How values, coordinates and axes are called and written: in every drawing the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

MINUS = "\N{MINUS SIGN}"
X_LABEL = "relative change of the scales along d1 (RMS)"
Y_LABEL = "relative change of the scales along d2 (RMS)"
COST_LABEL = "budget (images through the full network)"


@dataclass(frozen=True)
class ValueText:
    """How a value is called and written.

    Attributes:
        label: Axis label, with unit.
        short: Label of a button or a table row.
        unit: Unit of the shown numbers.
        factor: From the unit of `Surface.values` to the shown one.
        decimals: Digits after the point in text.
        of_images: Whether the label says what the images are.
    """

    label: str
    short: str
    unit: str
    factor: float = 1.0
    decimals: int = 4
    of_images: bool = False

    def on(self, images: str) -> ValueText:
        """The same, its label saying on what images: "test cross-entropy (nats)"."""
        return replace(self, label=f"{images} {self.label}") if self.of_images and images else self

    @property
    def change_label(self) -> str:
        """Label of a difference of two such values."""
        unit = "points" if self.unit == "%" else self.unit
        return f"change of {self.short} ({unit})" if unit else f"change of {self.short}"


VALUE_TEXTS: Mapping[str, ValueText] = {
    "loss": ValueText("cross-entropy (nats)", "cross-entropy", "nats", of_images=True),
    "top1": ValueText("top-1 (%)", "top-1", "%", decimals=2, of_images=True),
    "infonce": ValueText("infoNCE, x 2T (nats)", "infoNCE", "nats", decimals=5, of_images=True),
    "mse": ValueText("squared error of the logits (mean over classes)", "MSE", "squared logits"),
    "kl": ValueText("KL divergence from the float network (nats)", "KL", "nats", decimals=5),
    "cosine": ValueText("cosine distance of the logits (0 to 2)", "cosine", "1", decimals=6),
    "fisher": ValueText("Fisher-weighted squared error of the logits", "Fisher", "squared logits", decimals=5),
    "flip_rate": ValueText("code-flip rate (% of codes)", "code flips", "% of codes", factor=100.0, decimals=3),
}


def value_text(name: str) -> ValueText:
    """The text of a value; ``infonce@0.5`` is infoNCE at another temperature, and an unknown name stands alone."""
    if name in VALUE_TEXTS:
        return VALUE_TEXTS[name]
    base, _, temperature = name.partition("@")
    if base == "infonce" and temperature:
        return ValueText(f"infoNCE at T = {temperature}, x 2T (nats)", f"infoNCE T={temperature}", "nats", 1.0, 5, True)
    return ValueText(name, name, "")


def percent(coordinate: float) -> str:
    """A coordinate as a reader sees it: 0.05 is "+5%"."""
    shown = round(100 * coordinate, 9)
    return "0%" if shown == 0 else f"{shown:+.6g}%".replace("-", MINUS)


def written(number: float, decimals: int, *, signed: bool = False) -> str:
    """A number with so many digits after the point and a true minus sign."""
    return f"{number:{'+' if signed else ''}z.{decimals}f}".replace("-", MINUS)
