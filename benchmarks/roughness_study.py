"""How rough are the surfaces of quantized networks, and how much of that is noise of the test images?

    python -m benchmarks.roughness_study scan --minutes 8     # again until all runs are there
    python -m benchmarks.roughness_study report               # the tables, from what is stored

Lines of 41 points, +-5 % of the scales, and planes of 21 x 21, of DeiT-Tiny (blocks 0, 5, 10), MobileNetV1 and
ResNet-20 (one block of each, where as many codes flip); three directions where networks are compared. A run goes on
where it stopped. Every table on fewer images takes the first so many of the same run. ``roughness.md`` and ``.json`` in
``benchmarks/results/`` hold what was found.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landscape.cli.runs import plain
from landscape.errors import UserError
from landscape.problem import teacher_logits
from landscape.progress import Advance
from landscape.roughness import noise_floor, replication, roughness
from landscape.roughness.text import number
from landscape.scan import ScanOptions, continue_scan, load_surface, open_run, run_settings, scan_directions
from landscape.setup import Ingredients, ProblemOptions, build, gather, stored_arrays
from landscape.store import RunStore
from landscape.surface import Surface

SHARED = Path("../shared/data")
RUNS = Path("runs/roughness")
RESULTS = Path("benchmarks/results")
SIZES = (250, 500, 1000, 2000)
VALUES = ("loss", "top1", "infonce")
PART = 250
"""Images whose float logits are stored at a time."""

SCHEME = {"preset": "fq-vit++", "weight_observer": "omse"}
"""OMSE of single channels and bias correction, as in the first look; written out, whatever the default becomes."""

CORRECTION = {"deit": "weight", "resnet20": "weight", "mobilenet": "output"}
"""Correction of the weights brings MobileNetV1, whose depthwise kernels have nine each, to 12 % top-1 at 4 bits."""

CIFAR = {"crop": 32, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CNNS = SHARED / "cnn_models.py"
NETWORKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "deit": ("deit_tiny_patch16_224", "deit_tiny_patch16_224", {"crop": 224}),
    "mobilenet": (f"{CNNS}:mobilenetv1_075", "mobilenetv1_075", {"crop": 224}),
    "resnet20": (f"{CNNS}:resnet20", "resnet20_cifar10", CIFAR),
}
DATA = {
    "imagenette": {"data": str(SHARED / "imagenette-mini"), "calib_data": str(SHARED / "imagenet-mini")},
    "val": {"data": str(SHARED / "imagenet-mini")},
    "cifar10": {"data": str(SHARED / "cifar10-mini")},
}


@dataclass(frozen=True)
class Run:
    """One run of the study.

    Attributes:
        network: Key of `NETWORKS`.
        bits: Bit widths.
        part: What moves: a block, or a pattern of layers.
        images: How many.
        label: What the images are; key of `DATA`.
        dims: 1 or 2.
        seed: Of the direction.
    """

    network: str
    bits: str
    part: str
    images: int
    label: str
    dims: int = 1
    seed: int = 0

    @property
    def points(self) -> int:
        """Along each direction."""
        return 41 if self.dims == 1 else 21

    @property
    def name(self) -> str:
        """Of the folder."""
        part = "".join(c if c.isalnum() else "-" for c in self.part)
        seed = f"-seed{self.seed}" if self.seed else ""
        return f"{self.network}-{self.bits}-{part}-{self.label}-{self.dims}d{seed}"

    def problem(self) -> dict[str, Any]:
        """Options of the problem."""
        model, weights, preprocessing = NETWORKS[self.network]
        moving = {"block": int(self.part)} if self.part.isdigit() else {"layers": self.part}
        images = {**DATA[self.label], "images": self.images, "resize": "none", **preprocessing}
        where = {"model": model, "weights": str(SHARED / "weights" / f"{weights}.safetensors")}
        return {**where, **images, **SCHEME, "bias_correction": CORRECTION[self.network], "bits": self.bits, **moving}

    def command(self) -> str:
        """The same on the command line."""
        options = {**self.problem(), "dims": self.dims, "points": self.points, "seed": self.seed}
        options["out"] = RUNS / self.name
        words = [f"--{name.replace('_', '-')} {_word(value)}" for name, value in options.items()]
        return "landscape scan " + " ".join(words)

    @property
    def finished(self) -> bool:
        """Whether all its points are stored."""
        if not RunStore.exists(RUNS / self.name):
            return False
        with RunStore.open(RUNS / self.name) as store:
            return store.status == "finished"


STUDY = (
    Run("resnet20", "w4a8", "layer2.1.*", 2000, "cifar10"),
    Run("deit", "w4a8", "10", 2000, "imagenette"),
    Run("deit", "w4a8", "5", 2000, "imagenette"),
    Run("deit", "w3a8", "10", 2000, "imagenette"),
    Run("deit", "w3a8", "5", 2000, "imagenette"),
    Run("resnet20", "w3a8", "layer2.1.*", 2000, "cifar10"),
    Run("deit", "w4a8", "0", 2000, "imagenette"),
    Run("deit", "w3a8", "0", 2000, "imagenette"),
    Run("deit", "w4a8", "10", 1000, "val"),
    Run("deit", "w4a8", "5", 1000, "val"),
    Run("deit", "w4a8", "10", 1000, "imagenette", dims=2),
    *(Run("deit", "w4a8", "5", 2000, "imagenette", seed=seed) for seed in (1, 2)),
    *(Run("resnet20", "w4a8", "layer2.1.*", 2000, "cifar10", seed=seed) for seed in (1, 2)),
    Run("resnet20", "w4a8", "layer2.1.*", 1000, "cifar10", dims=2),
    *(Run("deit", "w4a8", "10", 2000, "imagenette", seed=seed) for seed in (1, 2)),
    *(Run("mobilenet", "w4a8", "blocks.4.1.*", 1000, "imagenette", seed=seed) for seed in (0, 1, 2)),
    Run("mobilenet", "w4a8", "blocks.4.1.*", 1000, "imagenette", dims=2),
    Run("deit", "w3a8", "10", 1000, "imagenette", dims=2),
    Run("deit", "w4a8", "5", 1000, "imagenette", dims=2),
    *(Run("deit", "w3a8", part, 1000, "val") for part in ("5", "10", "0")),
    Run("deit", "w4a8", "0", 1000, "val"),
    Run("resnet20", "w3a8", "layer2.1.*", 1000, "cifar10", dims=2),
    Run("deit", "w3a8", "5", 1000, "imagenette", dims=2),
    Run("deit", "w4a8", "0", 1000, "imagenette", dims=2),
    Run("deit", "w3a8", "0", 500, "imagenette", dims=2),
)
"""In the order in which they are made: what answers the question first, and is cheap, comes first."""


class TimeUpError(Exception):
    """The time of this call is over; what is stored is safe."""


@dataclass
class Deadline:
    """Progress that ends the work when its time is up.

    Attributes:
        end: Of `time.monotonic`.
    """

    end: float

    @contextmanager
    def __call__(self, stage: str, total: int) -> Iterator[Advance]:
        """See `landscape.progress`."""
        start = time.monotonic()

        def advance(images: int) -> None:
            if time.monotonic() > self.end:
                raise TimeUpError

        yield advance
        print(f"  {stage}: {total} images in {time.monotonic() - start:.0f} s", flush=True)


def scan(minutes: float) -> bool:
    """Work on the unfinished runs for so long; True when none is left."""
    RUNS.mkdir(parents=True, exist_ok=True)
    deadline = Deadline(time.monotonic() + 60 * minutes)
    try:
        for run in STUDY:
            if not run.finished:
                print(run.name, flush=True)
                compute(run, deadline)
    except TimeUpError:
        return False
    return True


def compute(run: Run, deadline: Deadline) -> None:
    """One run, as ``landscape scan`` makes it; calibration and teacher are shared with other runs of the network."""
    ingredients = gather(ProblemOptions(**run.problem()))
    teacher = _teacher(run, ingredients, deadline)
    problem = build(ingredients, stored={**_quantized(run, deadline), "teacher": teacher})
    grid = ScanOptions(dims=run.dims, points=run.points, seed=run.seed)
    settings = run_settings(problem.description, grid)
    with open_run(RUNS / run.name, settings, True, problem, scan_directions(problem, grid)) as store:
        directions = torch.from_numpy(store.load_array("directions"))
        continue_scan(problem, grid, directions, store, deadline)


def _quantized(run: Run, deadline: Deadline) -> dict[str, np.ndarray[Any, Any]]:
    path = RUNS / f"{run.network}-{run.bits}.npz"
    if not path.exists():
        few = build(gather(ProblemOptions(**{**run.problem(), "images": 2})), progress=deadline)
        arrays = {name: array for name, array in stored_arrays(few).items() if name != "teacher"}
        np.savez(path, **arrays)  # type: ignore[arg-type]  # a name of them could be allow_pickle
    with np.load(path) as found:
        return dict(found)


def _teacher(run: Run, ingredients: Ingredients, deadline: Deadline) -> np.ndarray[Any, Any]:
    """Logits of the float network, computed in parts, so that little is lost when the time is up."""
    parts = []
    for start in range(0, run.images, PART):
        path = RUNS / f"teacher-{run.network}-{run.label}-{start}.npy"
        if not path.exists():
            images = ingredients.images.select(range(start, min(start + PART, run.images)))
            with deadline("float network", len(images)) as advance:
                np.save(path, teacher_logits(ingredients.model.module, images, advance).numpy().astype(np.float32))
        parts.append(np.load(path))
    return np.concatenate(parts)


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"'{value}'" if "*" in str(value) else str(value)


def surface_of(run: Run) -> Surface:
    """The surface; of an unfinished line every second, fourth or eighth point, the first of these that are all there.

    Raises:
        UserError: None of these is there.
    """
    surface = load_surface(RUNS / run.name)
    if surface.complete:
        return surface
    middle = surface.centre_index[0]
    for step in (2, 4, 8) if surface.dims == 1 else ():
        kept = np.arange(middle % step, len(surface.alpha), step)
        if surface.computed[kept].all():
            values = {name: value[kept] for name, value in surface.values.items()}
            per_image = {name: np.asarray(surface.per_image[name])[kept] for name in VALUES}
            return Surface(surface.alpha[kept], None, values, per_image, surface.settings, surface.reference)
    raise UserError(f"{run.name} has too few points yet")


def usable() -> list[Run]:
    """Runs that have a surface."""
    found = []
    for run in STUDY:
        if RunStore.exists(RUNS / run.name):
            try:
                surface_of(run)
            except UserError:
                continue
            found.append(run)
    return found


def rows_of(run: Run) -> list[dict[str, Any]]:
    """One row for each value and number of images."""
    surface, rows = surface_of(run), []
    for value in VALUES:
        for images in (size for size in SIZES if size <= run.images):
            try:
                floor = noise_floor(surface, value, images=images)
                halves = replication(surface, value, images=images, splits=100)
            except UserError:  # fewer than four batches of infoNCE
                continue
            found = floor["jaggedness"]
            rows.append(
                {
                    "run": run.name,
                    "network": run.network,
                    "bits": run.bits,
                    "part": run.part,
                    "data": run.label,
                    "seed": run.seed,
                    "dims": surface.dims,
                    "step": float(np.diff(surface.alpha).mean()),
                    "value": value,
                    "images": images,
                    "flip_rate": _flips(surface),
                    "correlation_of_values": halves.values.mean,
                    "correlation_of_second_differences": halves.second_differences.mean,
                    "spread": floor["variance"].to_dict(),
                    "jaggedness": found.to_dict(),
                }
            )
    return rows


def _flips(surface: Surface) -> float:
    """Share of codes that differ at the ends of the first direction."""
    rates = surface.values["flip_rate"]
    middle = () if surface.dims == 1 else (surface.centre_index[1],)
    return float((rates[(0, *middle)] + rates[(-1, *middle)]) / 2)


HEADER = (
    "network",
    "moves",
    "flips at 5 %",
    "step",
    "value",
    "images",
    "RMS measured",
    "floor",
    "above",
    "RMS of population",
    "95 % interval",
    "share",
    "halves: values / 2nd differences",
    "images needed",
)


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown: root mean square second differences beyond the best quadratic, in the unit of the value."""
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    for row in rows:
        found = row["jaggedness"]
        roots = {key: max(found[key], 0.0) ** 0.5 for key in ("measured", "floor", "estimate", "low", "high")}
        needed = found["images_needed"]
        cells = [
            f"{row['network']} {row['bits']}, {row['data']}{_kind(row)}",
            f"block {row['part']}" if row["part"].isdigit() else row["part"],
            f"{100 * row['flip_rate']:.1f} %",
            f"{100 * row['step']:.3g} %",
            row["value"],
            f"{found['images']:,}",
            number(float(f"{roots['measured']:.3g}")),
            number(float(f"{roots['floor']:.3g}")),
            "**yes**" if found["above_floor"] else "no",
            number(float(f"{roots['estimate']:.3g}")),
            f"{roots['low']:.2g} to {roots['high']:.2g}",
            _percent(found["share"]),
            f"{row['correlation_of_values']:.2f} / {row['correlation_of_second_differences']:.2f}",
            f"{needed:,.0f}" if needed is not None else "-",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.0f} %"


def _kind(row: dict[str, Any]) -> str:
    return (", plane" if row["dims"] == 2 else "") + (f", direction {row['seed']}" if row["seed"] else "")


def measures_table(run: Run) -> list[str]:
    """All measures of one run on all its images."""
    surface, lines = surface_of(run), []
    for value in VALUES:
        found = roughness(surface, value, draws=400)
        lines += [
            f"\n**{run.name}, {value}, {found.images:,} images**\n",
            "| measure | value | low | high | floor | unit |",
        ]
        lines.append("|---|---|---|---|---|---|")
        for each in found:
            cells = [number(float(f"{x:.3g}")) for x in (each.value, each.low, each.high, each.floor)]
            mark = " **(rough)**" if each.rough else ""
            lines.append(f"| {each.label}{mark} | {' | '.join(cells)} | {each.unit} |")
    return lines


def report() -> None:
    """Write the rows as JSON, and the tables as Markdown, between the marks of the file."""
    finished = usable()
    rows = [row for run in finished for row in rows_of(run)]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "roughness.json").write_text(json.dumps(plain(rows), indent=1, allow_nan=False) + "\n")
    lines = ["## Jaggedness against the number of images", "", *table(rows)]
    lines += ["", "## All measures on all images", *[line for run in finished for line in measures_table(run)]]
    lines += ["", "## Commands", "", "```"]
    lines += [run.command() for run in finished]
    lines += ["python -m benchmarks.roughness_study report", "```", ""]
    path = RESULTS / "roughness.md"
    text = path.read_text() if path.exists() else "# Roughness, measured\n\n"
    head = text.split(MARK)[0]
    path.write_text(f"{head}{MARK}\n\n" + "\n".join(lines))
    print(f"{len(finished)} of {len(STUDY)} runs usable, {len(rows)} rows; see {path}")


MARK = "<!-- written by benchmarks.roughness_study -->"


def main() -> None:
    """Run one of the two parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("scan", "report"))
    parser.add_argument("--minutes", type=float, default=8.0)
    arguments = parser.parse_args()
    if arguments.part == "report":
        report()
    elif scan(arguments.minutes):
        print("all runs are finished")


if __name__ == "__main__":
    main()
