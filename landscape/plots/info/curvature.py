"""Spectra of the curvature, and how far models of the loss predict it."""

from __future__ import annotations

from dataclasses import dataclass

from landscape.curvature.records import Curvature, CurvatureReport, ModelFit
from landscape.errors import UserError
from landscape.plots.info.words import ValueText, value_text
from landscape.plots.titles import study_subtitle, study_title


@dataclass(frozen=True)
class SpectrumInfo:
    """Spectral densities and outer eigenvalues.

    Attributes:
        title: Network and what is moved.
        subtitle: Loss, images.
        x_label: Label of the eigenvalues.
        y_label: Label of the density.
        panels: For each panel, its title and the operators in it: those over the same coordinates of the same network.
    """

    title: str
    subtitle: str
    x_label: str
    y_label: str
    panels: tuple[tuple[str, tuple[Curvature, ...]], ...]


@dataclass(frozen=True)
class FitInfo:
    """R^2 of models by radius, and the changes behind it.

    Attributes:
        title: Network and what is moved.
        subtitle: Loss, images, lines, where each model holds.
        x_label: Label of the radius.
        text: Of the loss.
        fits: One for each model.
    """

    title: str
    subtitle: str
    x_label: str
    text: ValueText
    fits: tuple[ModelFit, ...]


_PANELS = {
    ("surrogate", "scales"): "straight-through surrogate, over scales",
    ("float", "scales"): "float network, over scales",
    ("float", "weights"): "float network, over weights",
}
_KINDS = {"hessian": "Hessian", "ggn": "Gauss-Newton (GGN)", "fisher": "Fisher"}


def spectrum_info(report: CurvatureReport) -> SpectrumInfo:
    """Collect the spectra of a study.

    Raises:
        UserError: It has none.
    """
    if not report.curvatures:
        raise UserError("this study has no spectrum; run `landscape curvature` with --kinds")
    groups: dict[str, list[Curvature]] = {}
    for each in report.curvatures:
        where = (each.network.partition("-")[0], each.over)
        groups.setdefault(_PANELS.get(where, f"{each.network}, over {each.over}"), []).append(each)
    first = report.curvatures[0]
    text = value_text(first.loss)
    return SpectrumInfo(
        title=study_title(report.settings),
        subtitle=study_subtitle(report.settings, f"curvature of {text.short} on {first.images:,} images"),
        x_label=f"eigenvalue ({text.unit} per squared relative change)",
        y_label="spectral density",
        panels=tuple((name, tuple(group)) for name, group in groups.items()),
    )


def operator_words(curvature: Curvature) -> str:
    """An operator in a legend: its kind, trace and size."""
    error = curvature.trace_error
    give = f" \N{PLUS-MINUS SIGN} {error:.2g}" if error == error and error > 0 else ""
    name = _KINDS.get(curvature.kind, curvature.kind)
    trace = f"trace {curvature.trace:.3g}{give}" if curvature.trace == curvature.trace else "no trace"
    return f"{name}: {trace}, {curvature.dimension:,} dimensions".replace("-", "\N{MINUS SIGN}").replace(
        "Gauss\N{MINUS SIGN}Newton", "Gauss-Newton"
    )


def fit_info(report: CurvatureReport) -> FitInfo:
    """Collect how well models predict the surface.

    Raises:
        UserError: The study compared none.
    """
    if not report.fits:
        raise UserError("this study compared no models with the surface; run `landscape curvature` with --lines 4")
    first = report.fits[0]
    text = value_text(first.loss)
    words = f"{text.short} on {first.images:,} images, {first.lines} random lines, 95% bootstrap intervals over images"
    return FitInfo(
        title=study_title(report.settings),
        subtitle=study_subtitle(report.settings, words),
        x_label="radius (relative change of the scales, RMS)",
        text=text,
        fits=report.fits,
    )
