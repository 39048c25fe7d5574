"""``landscape quantize``: calibrate a network once and keep all scales and zero points in a file."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from landscape.cli.options import progress_bar
from landscape.cli.runs import aligned, check_file, say, write_json
from landscape.errors import UserError
from landscape.progress import Progress, silent
from landscape.quant.calibrate import passes_over_images, quantize_network
from landscape.quant.network import QuantizedNetwork
from landscape.quant.parameters import save_quantized
from landscape.quant.provenance import provenance
from landscape.quant.summary import NetworkSummary, summarize
from landscape.setup import Ingredients, ProblemOptions, gather


@dataclass(frozen=True)
class QuantizeOptions:
    """Where the quantized network goes.

    Attributes:
        out: File to write (safetensors); `--quantized` reads it.
        overwrite: Replace a file that is there already.
        json: Print one JSON object on standard output.
    """

    out: str
    overwrite: bool = False
    json: bool = False


def quantize(problem: ProblemOptions, options: QuantizeOptions) -> None:
    """Calibrate a network and save its scales and zero points; scan --quantized FILE then uses them."""
    path = Path(options.out)
    check_file(path)
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):  # also for a file that is there: it is replaced
        raise UserError(f"{path.absolute().parent} is read-only: make it writable or choose another --out")
    if path.exists() and not options.overwrite:
        raise UserError(f"{path} is there already; choose another --out, or add --overwrite")
    ingredients = calibration_ingredients(problem)
    say(f"quantizing {problem.model} at {ingredients.scheme().bits} on {problem.calib_images} calibration images")
    start = time.perf_counter()
    network = calibrated(ingredients, progress_bar())
    save_quantized(path, network, about(ingredients))
    seconds = time.perf_counter() - start
    summary = summarize(network)
    if options.json:
        write_json(_record(path, ingredients, summary, seconds))
        return
    print("\n".join(_lines(path, summary, seconds)))
    sys.stdout.flush()


def calibration_ingredients(problem: ProblemOptions) -> Ingredients:
    """Model and calibration images, all options checked.

    Raises:
        UserError: An option cannot be used.
    """
    if problem.quantized is not None:
        raise UserError("quantize makes a file by calibration; leave out --quantized")
    # No test images are needed: one calibration image stands in for them, so that a folder without val/ will do. And
    # all scales may move, so that no choice of scales can be wrong.
    return gather(replace(problem, split="train", images=1, block=None, layers="*", which="both"))


def calibrated(ingredients: Ingredients, progress: Progress = silent) -> QuantizedNetwork:
    """The quantized network, its file not yet written."""
    assert ingredients.calibration is not None
    scheme = ingredients.scheme()
    with progress("calibration", passes_over_images(scheme) * len(ingredients.calibration)) as advance:
        return quantize_network(ingredients.graph, scheme, ingredients.calibration, ingredients.exact_input(), advance)


def about(ingredients: Ingredients) -> dict[str, Any]:
    """What the file tells about its origin."""
    options = ingredients.options
    settings = {"preset": options.preset, "bits": ingredients.scheme().bits, "seed": options.seed}
    return provenance(ingredients.model, ingredients.calibration, settings)


def _record(path: Path, ingredients: Ingredients, summary: NetworkSummary, seconds: float) -> dict[str, Any]:
    return {"file": str(path), **about(ingredients), **summary.to_dict(), "seconds": seconds}


def _lines(path: Path, summary: NetworkSummary, seconds: float) -> list[str]:
    groups: dict[tuple[str, int, str], list[float | None]] = {}
    for row in summary.quantizers:
        groups.setdefault((row.role, row.bits, row.observer), []).append(row.scale_median)
    header = ["quantizers", "count", "bits", "observer", "median scale: from", "to"]
    rows = []
    for (role, bits, observer), medians in groups.items():
        known = [median for median in medians if median is not None]
        ends = [f"{min(known):.3g}", f"{max(known):.3g}"] if known else ["-", "-"]
        rows.append([role, str(len(medians)), str(bits), observer, *ends])
    return [
        *aligned([header, *rows]),
        "",
        f"{len(summary.float_parts)} entries in the list of what stays float (--json prints it)",
        f"written to {path} in {seconds:.0f} s; use it with --quantized {path}",
    ]
