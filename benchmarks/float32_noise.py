"""How much roughness float32 rounding adds to a surface: one line of one network, exact and in float32.

Roughness is the mean squared second difference of a curve of means over the images. With E the exact curve, F the
float32 one on the same points and images: the share that float32 adds is 1 - roughness(E) / roughness(F), and
roughness(F - E) / roughness(F) is the share of the difference itself; they agree as far as the difference is
independent of E. Intervals (90 %) come from 1,000 resamples of the images.

    python -m benchmarks.float32_noise --weights W --data FOLDER --images 500
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import workload
from benchmarks.engine import moved_names
from landscape.engine import choose_engine
from landscape.losses import LOSSES, LossOptions
from landscape.problem import Problem, teacher_logits
from landscape.scan import ScanOptions, scan_directions
from landscape.space import scale_space

FloatArray = npt.NDArray[np.float64]
RESAMPLES = 1000


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison and write ``float32_noise.json`` and ``float32_noise.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    workload.add_options(parser, images=500)
    parser.add_argument("--block", type=int, default=5)
    parser.add_argument("--points", type=int, default=21)
    parser.add_argument("--radius", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    load = workload.load(options)
    grid = ScanOptions(dims=1, points=options.points, radius=options.radius, seed=options.seed)
    teacher = teacher_logits(load.module, load.images)
    space = scale_space(load.network, moved_names(load.network, options.block))
    arithmetic, words = choose_engine("auto")
    losses = LossOptions(names=tuple(LOSSES))
    exact = Problem(load.network, space, load.images, teacher, arithmetic, losses)
    rough = replace(exact, arithmetic=choose_engine("float32")[0])
    curves = [per_image_curves(problem, grid) for problem in (exact, rough)]
    rows = {name: compare(curves[0][name], curves[1][name]) for name in curves[0]}
    found = {
        "workload": load.words,
        "exact engine": words,
        "block": options.block,
        "points": options.points,
        "radius": options.radius,
        "seed": options.seed,
        "machine": workload.machine(),
        "losses": rows,
        "logits": logits_at_the_centre(exact, rough),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "float32_noise.json").write_text(json.dumps(found, indent=1))
    (options.out / "float32_noise.md").write_text(to_markdown(found))
    print(to_markdown(found))


def per_image_curves(problem: Problem, grid: ScanOptions) -> dict[str, FloatArray]:
    """Per-image losses along the line, (points, images) by name."""
    directions = scan_directions(problem, grid)
    points = [problem.space.at(coordinates, directions) for coordinates in grid.coordinates()]
    found = [problem.evaluate([point])[0].per_image for point in points]
    return {name: np.stack([values[name] for values in found]) for name in found[0]}


def roughness(curve: FloatArray) -> FloatArray:
    """Mean squared second difference along the first axis."""
    return np.asarray(np.mean(np.diff(curve, 2, axis=0) ** 2, axis=0))


def compare(exact: FloatArray, rough: FloatArray) -> dict[str, Any]:
    """Roughness of the mean curves of per-image values (points, images), and the shares."""
    images = exact.shape[1]
    weights = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), RESAMPLES).T / images
    resampled = [roughness(values @ weights) for values in (exact, rough, rough - exact)]
    single = [float(roughness(values.mean(1))) for values in (exact, rough, rough - exact)]
    with np.errstate(invalid="ignore", divide="ignore"):
        added, own = 1 - resampled[0] / resampled[1], resampled[2] / resampled[1]
    return {
        "roughness, exact": single[0],
        "roughness, float32": single[1],
        "roughness of the difference": single[2],
        "share added": 1 - single[0] / single[1] if single[1] else 0.0,
        "share added, 90 % interval": np.nanquantile(added, [0.05, 0.95]).tolist(),
        "share of the difference": single[2] / single[1] if single[1] else 0.0,
        "share of the difference, 90 % interval": np.nanquantile(own, [0.05, 0.95]).tolist(),
        "largest difference of the means": float(np.abs((rough - exact).mean(1)).max()),
    }


def logits_at_the_centre(exact: Problem, rough: Problem) -> dict[str, float]:
    """How the logits of the centre itself differ."""
    a, b = (problem.evaluator.logits(problem.network) for problem in (exact, rough))
    error = (a - exact.teacher).square().mean().sqrt()
    return {
        "logits that are equal (share)": float(((a - b).abs() < 1e-4 * a.std()).double().mean()),
        "RMS difference, relative to the quantization error": float((a - b).square().mean().sqrt() / error),
        "images whose top-1 class differs (share)": float((a.argmax(1) != b.argmax(1)).double().mean()),
    }


def to_markdown(found: dict[str, Any]) -> str:
    """The report as tables."""
    facts = found["machine"]
    lines = [
        "# What float32 rounding adds to the roughness of a surface",
        "",
        f"{found['workload']}; weight scales of block {found['block']}'s qkv and proj, one random line (seed "
        f"{found['seed']}), {found['points']} points within +-{100 * found['radius']:g} %. Roughness: mean squared "
        "second difference of the mean over the images. In brackets: 90 % intervals over resampled images.",
        "",
        f"Exact: {found['exact engine']}. Machine: {facts['processor']}, {', '.join(facts['instruction sets'])}.",
        "",
        "| loss | roughness, exact | roughness, float32 | share that float32 adds | difference / float32 |",
        "|---|---|---|---|---|",
    ]
    for name, row in found["losses"].items():
        shares = []
        for key in ("share added", "share of the difference"):
            low, high = row[f"{key}, 90 % interval"]
            shares.append(f"{row[key]:.2f} ({low:.2f} to {high:.2f})")
        lines.append(
            f"| {name} | {row['roughness, exact']:.3g} | {row['roughness, float32']:.3g} | {' | '.join(shares)} |"
        )
    lines += [
        "",
        "Where the last column is near 0, float32 draws the same curve; near 2, the jaggedness of the two curves is "
        "unrelated: float32 is not rougher, its jaggedness is another draw of the roundings.",
    ]
    lines += ["", "At the centre:", "", *(f"- {key}: {value:.3g}" for key, value in found["logits"].items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
