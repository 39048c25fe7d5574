"""Curvature and gradient reliability of a real network, in parts that each take some minutes on two cores.

    python benchmarks/curvature_study.py --parts reliability,scales --bits w4a8 --block 5
    python benchmarks/curvature_study.py --parts models,float --bits w4a8 --block 5
    python benchmarks/curvature_study.py --parts table

Calibration takes longest; do it once with `landscape quantize --preset fq-vit++ --bits w4a8 --bias-correction weight`
and give its file to every part (`--quantized`). Each part adds its record to benchmarks/results/curvature.json; `table`
writes curvature.md from it. `landscape curvature` and `landscape reliability` do the same for any network; this splits
the work.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from landscape.cli.curvature import curvature_lines
from landscape.cli.reliability import reliability_lines
from landscape.cli.runs import aligned, plain
from landscape.curvature import (
    Curvature,
    CurvatureOptions,
    CurvatureReport,
    Density,
    FitOptions,
    ModelFit,
    curvature_study,
    model_fits,
)
from landscape.problem import Problem
from landscape.reliability import (
    Agreement,
    Descent,
    FlipDistance,
    ReliabilityOptions,
    ReliabilityReport,
    reliability_study,
)
from landscape.scan import versions
from landscape.setup import ProblemOptions, build, gather, on_images, search_images

RESULTS = Path(__file__).parent / "results" / "curvature.json"

PARTS = ("scales", "float", "models", "reliability", "table")


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", required=True, help=f"with commas: {', '.join(PARTS)}")
    parser.add_argument("--model", choices=("deit_tiny", "digits_vit"), default="deit_tiny")
    parser.add_argument("--bits", default="w4a8")
    parser.add_argument("--block", type=int, default=5)
    parser.add_argument("--bias-correction", default="weight")
    parser.add_argument("--loss", default="infonce")
    parser.add_argument("--images", type=int, default=100, help="for reliability")
    parser.add_argument("--few", type=int, default=32, help="images for the other parts")
    parser.add_argument("--points", type=int, default=3, help="on the line of reliability")
    parser.add_argument("--directions", type=int, default=24, help="along which slopes are compared")
    parser.add_argument("--lanczos", type=int, default=20, help="steps; half as many products for the trace")
    parser.add_argument("--quantized", help="a file of `landscape quantize`, in place of calibration")
    parser.add_argument("--shared", default="../shared/data")
    arguments = parser.parse_args()
    parts = [part for part in arguments.parts.split(",") if part != "table"]
    if parts:
        search, test = problems(arguments)
        for part in parts:
            run_part(part, search, test, arguments)
    write_table()


def run_part(part: str, search: Problem, test: Problem, arguments: argparse.Namespace) -> None:
    """Run one part and keep its record."""
    start, few = time.perf_counter(), first(search, arguments.few)
    record = {
        "scales": lambda: spectra(few, arguments, "surrogate", "hessian,ggn"),
        "float": lambda: spectra(few, arguments, "float-scales,float-weights", "hessian"),
        "models": lambda: models(few, arguments.loss),
        "reliability": lambda: reliability(search, test, arguments),
    }[part]()
    record["seconds"] = time.perf_counter() - start
    record["command"] = shlex.join(["python", "benchmarks/curvature_study.py", *sys.argv[1:]])
    used = len((search if part == "reliability" else few).images)
    record |= {"versions": versions(), "threads": torch.get_num_threads(), "images": used}
    scheme = f"{arguments.bits}, block {arguments.block}, {arguments.loss}, correction {arguments.bias_correction}"
    setting = f"{arguments.model} {scheme}"
    keep(setting, part, record)


def first(problem: Problem, count: int) -> Problem:
    """The problem on its first images."""
    return replace(problem, images=problem.images.select(range(count)), teacher=problem.teacher[:count])


def problems(arguments: argparse.Namespace) -> tuple[Problem, Problem]:
    """The network on calibration images and on test images, quantized on 100 calibration images."""
    scheme = {"preset": "fq-vit++", "bits": arguments.bits, "bias_correction": arguments.bias_correction}
    deit: dict[str, Any] = {
        "model": "deit_tiny_patch16_224",
        "weights": f"{arguments.shared}/weights/deit_tiny_patch16_224.safetensors",
        "data": f"{arguments.shared}/imagenet-mini",
        "resize": "none",
        "crop": 224,
    }
    options = ProblemOptions(
        **(deit if arguments.model == "deit_tiny" else {"model": arguments.model}),
        **({} if arguments.quantized else scheme),
        quantized=arguments.quantized,
        block=arguments.block,
        calib_images=100,
        images=arguments.images,
        losses=f"top1,{arguments.loss}",
    )
    ingredients = gather(options)
    test = build(ingredients)
    return on_images(test, ingredients, search_images(ingredients, arguments.images)), test


def spectra(problem: Problem, arguments: argparse.Namespace, networks: str, kinds: str) -> dict[str, Any]:
    """Eigenvalues, trace and density."""
    options = CurvatureOptions(
        loss=arguments.loss,
        networks=networks,
        kinds=kinds,
        steps=arguments.lanczos,
        probes=1,
        trace_products=max(3, arguments.lanczos // 2),
        dtype="float32",
        lines=0,
    )
    return {"curvatures": [each.to_dict() for each in curvature_study(problem, options).curvatures]}


def models(problem: Problem, loss: str) -> dict[str, Any]:
    """R^2 by radius."""
    options = FitOptions(lines=3, radii=7, smallest=0.001, largest=0.5)
    return {"fits": [each.to_dict() for each in model_fits(problem, loss, options, dtype="float32")]}


def reliability(search: Problem, test: Problem, arguments: argparse.Namespace) -> dict[str, Any]:
    """Agreement and descent at the centre and at points on either side of it."""
    options = ReliabilityOptions(
        loss=arguments.loss,
        points=arguments.points,
        radius=0.05,
        directions=arguments.directions,
        smallest_step=0.001,
        largest_step=0.1,
        steps=3,
        dtype="float32",
    )
    return reliability_study(search, test, options).to_dict() | {"settings": {"test_images": len(test.images)}}


def keep(setting: str, part: str, record: dict[str, Any]) -> None:
    """Add a record to the results."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results.setdefault(setting, {})[part] = record
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(plain(results), indent=1, allow_nan=False) + "\n")


READING = """
What it says of DeiT-Tiny's block 5, at W4A8 and W3A8:

- The straight-through gradient agrees with real changes of the loss over steps of 0.1 (cosine 0.43 to 0.72, every
  interval above 0), which flip 18 to 32 % of the codes. At 0.01 one interval of six excludes 0, at 0.001 none. The
  almost-everywhere derivative with respect to weight scales is 0.
- Along the negative straight-through gradient the calibration loss is least at steps of 0.03 to 0.1, on the way to
  which it rises again and again; the first codes flip at 1e-5.
- No quadratic model (real values, straight-through surrogate, float network) explains half of the variance within any
  radius. Within 0.003 the real surface varies eleven to two hundred times as much as the models say.
- The float network's Hessian over the scales has one large eigenvalue, seven to nine times the next, and eight to
  twelve times the largest of the straight-through surrogate's Hessian.
"""


def write_table() -> None:
    """The results as text."""
    lines = ["# Curvature and gradient reliability", ""]
    lines += ["Scales of one block's qkv and proj; preset fq-vit++, 100 calibration images, on which gradients and"]
    lines += ["curvatures are taken too. Coordinates are relative: 0.01 moves the scales by about 1 %.", READING]
    for setting, parts in json.loads(RESULTS.read_text()).items():
        lines += [f"## {setting}", ""]
        for record in parts.values():
            lines += [f"    {record['command']}  # {record['images']} images, {record['seconds']:.0f} s"]
        lines += ["", "```", *_text(parts), "```", ""]
    RESULTS.with_suffix(".md").write_text("\n".join(lines))


def _text(parts: dict[str, Any]) -> list[str]:
    curvatures = [
        _curvature(each) for part in ("scales", "float") for each in parts.get(part, {}).get("curvatures", [])
    ]
    fits = [_tuples(ModelFit, each) for each in parts.get("models", {}).get("fits", [])]
    lines = curvature_lines(CurvatureReport({}, tuple(curvatures), tuple(fits))) if curvatures or fits else []
    if curvatures:
        rows = [[f"{c.network}, {c.kind} over {c.over}", *(f"{v:.2g}" for v in c.largest[:6])] for c in curvatures]
        lines += ["", *aligned([["largest eigenvalues", *"123456"], *rows])]
    if "reliability" in parts:
        record = parts["reliability"]
        report = ReliabilityReport(
            {},
            tuple(_tuples(Agreement, each) for each in record["agreements"]),
            tuple(_tuples(Descent, each) for each in record["descents"]),
            tuple(_flip(each) for each in record["flips"]),
            {name: _number(value) for name, value in record["replications"].items()},
        )
        lines += ["", *reliability_lines(report)]
    return lines


def _flip(record: dict[str, Any]) -> FlipDistance:
    quantiles = {share: _number(value) for share, value in record["quantiles"].items()}
    found: FlipDistance = _tuples(FlipDistance, {**record, "quantiles": quantiles})
    return found


def _number(value: Any) -> Any:
    return float("nan") if value is None else value


def _curvature(record: dict[str, Any]) -> Curvature:
    density = _tuples(Density, record["density"]) if record["density"] else None
    found: Curvature = _tuples(Curvature, {**record, "density": density})
    return found


def _tuples(kind: Any, record: dict[str, Any]) -> Any:
    optional = ("valid_radius", "holds_from", "falls_until", "density")
    return kind(
        **{
            key: tuple(map(_number, value))
            if isinstance(value, list)
            else (value if key in optional else _number(value))
            for key, value in record.items()
        }
    )


if __name__ == "__main__":
    main()
