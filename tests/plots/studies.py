"""Records of studies with known numbers, for the tests of their pictures."""

from __future__ import annotations

import numpy as np

from landscape.curvature.records import Curvature, CurvatureReport, Density, ModelFit
from landscape.reliability.records import Agreement, Descent, FlipDistance, ReliabilityReport
from tests.plots.surfaces import SETTINGS

NAN = float("nan")


def curvature_report() -> CurvatureReport:
    """Hessian and GGN of the surrogate, Hessian over weights of the float network, and two models."""
    return CurvatureReport(
        {**SETTINGS, "study": {"loss": "infonce"}},
        (
            _curvature("surrogate", "scales", "hessian", -0.2),
            _curvature("surrogate", "scales", "ggn", 0.0),
            _curvature("float-weights", "weights", "hessian", -0.01),
        ),
        (_fit("quadratic", 0.9), _fit("surrogate", 0.3)),
    )


def _curvature(network: str, over: str, kind: str, lowest: float) -> Curvature:
    eigenvalues = np.linspace(lowest, 1.0, 40) ** 3
    grid = np.linspace(lowest**3 - 0.1, 1.1, 200)
    width = 0.03
    peaks = np.exp(-0.5 * ((grid[:, None] - eigenvalues) / width) ** 2) / (width * np.sqrt(2 * np.pi))
    density = Density(tuple(grid), tuple(peaks.mean(axis=1)), width, tuple(eigenvalues), tuple(np.full(40, 1 / 40)))
    return Curvature(
        network=network,
        over=over,
        kind=kind,
        loss="infonce",
        layers=("blocks.5.attn.qkv.weight",),
        dimension=192,
        images=100,
        largest=tuple(sorted(eigenvalues, reverse=True)[:5]),
        smallest=tuple(sorted(eigenvalues)[:5]),
        largest_residuals=(1e-6,) * 5,
        smallest_residuals=(1e-5,) * 5,
        trace=float(eigenvalues.sum()),
        trace_error=0.3,
        density=density,
        products=70,
        seconds=3.0,
    )


def _fit(model: str, best: float) -> ModelFit:
    radii = np.geomspace(0.002, 0.3, 8)
    r2 = best - 5 * (np.log(radii / 0.03) / 4) ** 4
    return ModelFit(
        model=model,
        loss="infonce",
        radii=tuple(radii),
        r2=tuple(r2),
        low=tuple(r2 - 0.2),
        high=tuple(np.minimum(r2 + 0.1, 1.0)),
        real_change=tuple(1e-3 * radii**0.5),
        predicted_change=tuple(2e-2 * radii**1.5),
        level=0.5,
        valid_radius=0.05 if best > 0.5 else None,
        holds_from=0.01 if best > 0.5 else None,
        images=100,
        lines=4,
    )


def reliability_report() -> ReliabilityReport:
    """Two estimates, one of them zero, at the centre and beside it; steps downhill on two sets of images."""
    steps = (0.001, 0.01, 0.1)
    agreements = []
    for place in ((0.0,), (0.05,)):
        for step, cosine in zip(steps, (0.1, 0.6, -0.2), strict=True):
            found = (cosine, cosine - 0.3, cosine + 0.2, 0.5 + cosine / 2)
            agreements.append(_agreement(place, "straight-through", step, *found))
            agreements.append(_agreement(place, "almost-everywhere", step, NAN, NAN, NAN, NAN))
    descents = tuple(
        Descent(
            coordinates=(0.0,),
            estimator=estimator,
            images=images,
            loss="infonce",
            steps=(0.001, 0.01, 0.1, 0.3),
            change=(0.0, -0.001 * sign, -0.002 * sign, 0.004),
            low=(-0.001, -0.003, -0.004, 0.001),
            high=(0.001, 0.001, 0.002, 0.006),
            predicted=(-0.001, -0.01, -0.1, -0.3),
            falls_until=0.3,
            best_step=0.1,
            best_change=-0.002,
            flipped=(0.001, 0.02, 0.2, 0.4),
        )
        for estimator, sign in (("straight-through", 1.0), ("random", -0.5))
        for images in ("calibration", "test")
    )
    flips = (FlipDistance("random", 9216, 8e-5, {"0.01": 0.008}, 9e-5),)
    settings = {**SETTINGS, "study": {"loss": "infonce"}}
    return ReliabilityReport(settings, tuple(agreements), descents, flips, {"straight-through": 0.5})


def _agreement(
    place: tuple[float, ...], estimator: str, step: float, cosine: float, low: float, high: float, signs: float
) -> Agreement:
    return Agreement(place, estimator, step, cosine, low, high, signs, 0.4, 1.0, 2 * step, 16)
