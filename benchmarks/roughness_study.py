"""How rough are the surfaces of quantized networks, and how much of that is noise of the test images?

    python -m benchmarks.roughness_study scan --minutes 8     # again until all runs are there
    python -m benchmarks.roughness_study report               # the tables, from what is stored

Lines of 41 points, +-5 % of the scales, and a small plane, of DeiT-Tiny (blocks 0, 5, 10), MobileNetV1 and ResNet-20
(one block of each, where as many codes flip). A run goes on where it stopped. Every table on fewer images takes the
first so many of the same run. ``benchmarks/results/roughness.md`` and ``.json`` hold what was found.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.errors import UserError
from landscape.roughness import noise_floor, replication, roughness
from landscape.roughness.text import number
from landscape.scan import load_surface
from landscape.store import RunStore
from landscape.surface import Surface

SHARED = Path("../shared/data")
RUNS = Path("runs/roughness")
RESULTS = Path("benchmarks/results")
SIZES = (250, 500, 1000, 2000)
VALUES = ("loss", "top1", "infonce")
SCHEME = ("--preset", "fq-vit++", "--weight-observer", "omse", "--bias-correction", "weight")
"""OMSE of single channels and bias correction, as in the first look; written out, whatever the default becomes."""

IMAGENET = ("--resize", "none", "--crop", "224")
CIFAR = ("--resize", "none", "--crop", "32", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225")
MANY = ("--data", str(SHARED / "imagenette-mini"), "--calib-data", str(SHARED / "imagenet-mini"))
LINE = ("--dims", "1", "--points", "41")
NETWORKS = {
    "deit": ("deit_tiny_patch16_224", "deit_tiny_patch16_224", IMAGENET),
    "mobilenet": (f"{SHARED / 'cnn_models.py'}:mobilenetv1_075", "mobilenetv1_075", IMAGENET),
    "resnet20": (f"{SHARED / 'cnn_models.py'}:resnet20", "resnet20_cifar10", CIFAR),
}


@dataclass(frozen=True)
class Run:
    """One run of the study.

    Attributes:
        network: Key of `NETWORKS`.
        bits: Bit widths.
        part: What moves: a block, or a pattern of layers.
        images: How many.
        data: Options that name the images.
        grid: Options of the grid.
        label: What the images are.
    """

    network: str
    bits: str
    part: str
    images: int
    data: tuple[str, ...]
    grid: tuple[str, ...]
    label: str

    @property
    def name(self) -> str:
        """Of the folder."""
        part = "".join(c if c.isalnum() else "-" for c in self.part)
        return f"{self.network}-{self.bits}-{part}-{self.label}-{self.grid[1]}d"

    def arguments(self) -> list[str]:
        """Of ``landscape``."""
        model, weights, images = NETWORKS[self.network]
        part = ["--block", self.part] if self.part.isdigit() else ["--layers", self.part]
        where = ["--model", model, "--weights", str(SHARED / "weights" / f"{weights}.safetensors"), *images, *self.data]
        what = ["--bits", self.bits, *part, *SCHEME, "--images", str(self.images), "--radius", "0.05", *self.grid]
        return ["scan", *where, *what, "--out", str(RUNS / self.name), "--resume"]

    @property
    def finished(self) -> bool:
        """Whether all its points are stored."""
        if not RunStore.exists(RUNS / self.name):
            return False
        with RunStore.open(RUNS / self.name) as store:
            return store.status == "finished"


PLANE = ("--dims", "2", "--points", "9")
VAL = ("--data", str(SHARED / "imagenet-mini"))
CIFAR_DATA = ("--data", str(SHARED / "cifar10-mini"))
STUDY = (
    Run("deit", "w4a8", "5", 2000, MANY, LINE, "imagenette"),
    Run("deit", "w3a8", "5", 2000, MANY, LINE, "imagenette"),
    Run("resnet20", "w4a8", "layer2.1.*", 2000, CIFAR_DATA, LINE, "cifar10"),
    Run("mobilenet", "w4a8", "blocks.3.2.*", 2000, MANY, LINE, "imagenette"),
    Run("deit", "w4a8", "10", 2000, MANY, LINE, "imagenette"),
    Run("deit", "w3a8", "10", 2000, MANY, LINE, "imagenette"),
    Run("deit", "w4a8", "0", 2000, MANY, LINE, "imagenette"),
    Run("deit", "w3a8", "0", 2000, MANY, LINE, "imagenette"),
    Run("resnet20", "w3a8", "layer2.1.*", 2000, CIFAR_DATA, LINE, "cifar10"),
    Run("mobilenet", "w3a8", "blocks.3.2.*", 2000, MANY, LINE, "imagenette"),
    Run("deit", "w4a8", "5", 1000, VAL, LINE, "val"),
    Run("deit", "w4a8", "5", 1000, MANY, PLANE, "imagenette"),
)
"""In the order of their importance."""


def scan(minutes: float) -> bool:
    """Work on the unfinished runs for so long; True when none is left."""
    end = time.monotonic() + 60 * minutes
    for run in STUDY:
        if run.finished:
            continue
        left = end - time.monotonic()
        if left < 20:
            return False
        print(f"{run.name}: {left:.0f} s left", flush=True)
        process = subprocess.Popen([str(Path(sys.executable).with_name("landscape")), *run.arguments()])
        try:
            process.wait(timeout=left)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # stored points are safe
            process.wait()
            return False
        if process.returncode != 0:
            raise SystemExit(process.returncode)
    return True


def rows_of(run: Run) -> list[dict[str, Any]]:
    """One row for each value and number of images."""
    surface = load_surface(RUNS / run.name)
    rows = []
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
                    "dims": surface.dims,
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
            f"{row['network']} {row['bits']}, {row['data']}{', plane' if row['dims'] == 2 else ''}",
            f"block {row['part']}" if row["part"].isdigit() else row["part"],
            f"{100 * row['flip_rate']:.1f} %",
            row["value"],
            f"{found['images']:,}",
            number(float(f"{roots['measured']:.3g}")),
            number(float(f"{roots['floor']:.3g}")),
            "**yes**" if found["above_floor"] else "no",
            number(float(f"{roots['estimate']:.3g}")),
            f"{roots['low']:.2g} to {roots['high']:.2g}",
            f"{100 * found['share']:.0f} %",
            f"{row['correlation_of_values']:.2f} / {row['correlation_of_second_differences']:.2f}",
            f"{needed:,.0f}" if needed is not None else "-",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def measures_table(run: Run) -> list[str]:
    """All measures of one run on all its images."""
    surface = load_surface(RUNS / run.name)
    lines = []
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
    finished = [run for run in STUDY if run.finished]
    rows = [row for run in finished for row in rows_of(run)]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "roughness.json").write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")
    lines = ["## Jaggedness against the number of images", "", *table(rows)]
    lines += ["", "## All measures on all images", *[line for run in finished for line in measures_table(run)]]
    lines += ["", "## Commands", "", "```"]
    lines += ["landscape " + " ".join(run.arguments()) for run in finished]
    lines += ["python -m benchmarks.roughness_study report", "```", ""]
    path = RESULTS / "roughness.md"
    text = path.read_text() if path.exists() else "# Roughness, measured\n\n"
    head = text.split(MARK)[0]
    path.write_text(f"{head}{MARK}\n\n" + "\n".join(lines))
    print(f"{len(finished)} of {len(STUDY)} runs, {len(rows)} rows; see {path}")


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
