"""Comparison of optimizers at equal budget: means over seeds, intervals over images and seeds, paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evolq.run import Found, MethodOptions, run_method, with_seeds
from evolq.space import FloatArray
from evolq.study import Study
from landscape.errors import UserError
from landscape.losses import PERCENT
from landscape.progress import Progress, silent
from landscape.store import RunStore
from landscape.trajectory import SELECTED_ON_TEST

LEVEL = 0.95
DRAWS = 2000


@dataclass(frozen=True)
class Difference:
    """A paired difference of means, with its interval.

    Attributes:
        mean: Mean over seeds and images: percentage points for top1, else the unit of the loss.
        low: Lower end of the interval.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """As plain data."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Entry:
    """All seeds of one method.

    Attributes:
        label: For tables; says so where the result was selected on the test set.
        method: Its name, with ``/preset`` behind if it has one.
        found: One for each seed.
        start: Losses of the single images at the start: by ``search`` and ``test``, then by name.
    """

    label: str
    method: str
    found: Sequence[Found]
    start: Mapping[str, Mapping[str, FloatArray]]

    def images(self, kind: str, loss: str) -> FloatArray:
        """Losses at the end, float64 (seeds, images), percent for top1; ``kind`` is ``search`` or ``test``."""
        return factor(loss) * np.stack([getattr(found, kind)[loss] for found in self.found])

    def mean(self, kind: str, loss: str) -> float:
        """Mean over seeds and images at the end."""
        return float(self.images(kind, loss).mean())

    def seeds_sd(self, kind: str, loss: str) -> float:
        """Standard deviation of the seeds' means (divisor S - 1); NaN for one seed."""
        means = self.images(kind, loss).mean(axis=1)
        return float(means.std(ddof=1)) if len(means) > 1 else float("nan")

    def to_start(self, kind: str, loss: str) -> Difference:
        """End minus start."""
        return paired(self.images(kind, loss) - factor(loss) * self.start[kind][loss])

    def to(self, other: Entry, kind: str, loss: str) -> Difference:
        """End minus the other method's end, seed by seed where both have as many, else against its mean."""
        mine, theirs = self.images(kind, loss), other.images(kind, loss)
        return paired(mine - (theirs if len(mine) == len(theirs) else theirs.mean(axis=0)))


def factor(loss: str) -> float:
    """100 for what is shown in percent."""
    return 100.0 if loss in PERCENT else 1.0


def paired(differences: FloatArray, level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> Difference:
    """Mean of paired differences with a percentile bootstrap interval over images and seeds together.

    A draw takes seeds with replacement, and images with replacement, the same for all seeds. With one seed it is an
    interval over images only. infoNCE of an image depends on its batch; the batches stay as they were.

    Args:
        differences: float64 (seeds, images).
        level: Coverage.
        draws: Number of resamples.
        seed: Of the resamples.
    """
    seeds, images = differences.shape
    generator = np.random.default_rng(seed)
    shares = [1.0 / count for count in (seeds, images)]
    seed_counts = generator.multinomial(seeds, np.full(seeds, shares[0]), draws) * shares[0]
    image_counts = generator.multinomial(images, np.full(images, shares[1]), draws) * shares[1]
    means = ((seed_counts @ differences) * image_counts).sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(differences.mean()), float(low), float(high))


def parse_methods(text: str, seeds: int, **common: Any) -> list[MethodOptions]:
    """The methods of ``evolq/released,random,adam``, each once for each seed; a file is ``path/to/file.py:Class``.

    Raises:
        UserError: None is named, one is named twice, or one is unknown.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError("--methods is empty; give names with commas, such as evolq/released,random")
    if len(set(names)) < len(names):
        raise UserError(f"--methods names a method twice: {text}")
    if seeds < 1:
        raise UserError(f"--seeds {seeds} is not possible; give at least 1")
    methods = []
    for name in names:
        chosen = MethodOptions(method=name, **common)
        chosen.kind()
        methods.extend(with_seeds(chosen, seeds))
    return methods


def compare(
    study: Study, methods: Sequence[MethodOptions], store: RunStore, progress: Progress = silent
) -> list[Entry]:
    """Run all methods, or go on with them, or read what is finished.

    Args:
        study: Network and images.
        methods: Of `parse_methods`.
        store: An open run folder; see `evolq.run.open_study_run`.
        progress: Who is told.
    """
    found: dict[str, list[Found]] = {}
    for method in methods:
        found.setdefault(method.method, []).append(run_method(study, method, store, progress))
    search, test = study.start_losses()
    start = {"search": search, "test": test}
    return [Entry(runs[0].trajectory.label, name, runs, start) for name, runs in found.items()]


def evolq_of(entries: Sequence[Entry]) -> Entry | None:
    """The entry that others are compared with: Evol-Q as released, or the first Evol-Q there is."""
    every = [entry for entry in entries if entry.method.partition("/")[0] == "evolq"]
    released = [entry for entry in every if entry.method == "evolq/released"]
    return next(iter(released or every), None)


def comparison_record(entries: Sequence[Entry], study: Study) -> dict[str, Any]:
    """The comparison as plain data, for ``--json`` and result files."""
    loss = study.options.loss
    reference = evolq_of(entries)
    losses = list(dict.fromkeys((loss, "loss", "top1")))
    start = {
        kind: {name: factor(name) * float(v.mean()) for name, v in entries[0].start[kind].items()}
        for kind in entries[0].start
    }
    return {
        "model": study.ingredients.options.model,
        "bits": study.ingredients.scheme().bits,
        "loss": loss,
        "budget": study.options.images_to_spend(),
        "search_images": len(study.search.images),
        "test_images": len(study.test.images),
        "interval": f"{LEVEL:.0%}, percentile bootstrap over images and seeds, paired",
        "float": {"test": study.test.float_values(), "search": study.search.float_values()},
        "start": start,
        "methods": [_entry_record(entry, reference, losses) for entry in entries],
    }


def _entry_record(entry: Entry, reference: Entry | None, losses: Sequence[str]) -> dict[str, Any]:
    first = entry.found[0]
    record: dict[str, Any] = {
        "method": entry.method,
        "label": entry.label,
        "selected_on_test": bool(first.result["selected_on_test"]),
        "seeds": [found.trajectory.seed for found in entry.found],
        "spent": [found.result["spent"] for found in entry.found],
        "seconds": [found.result["seconds"] for found in entry.found],
        "points": [len(found.trajectory) for found in entry.found],
    }
    for kind in ("search", "test"):
        record[kind] = {
            loss: {"mean": entry.mean(kind, loss), "seeds_sd": entry.seeds_sd(kind, loss)} for loss in losses
        }
        record[f"{kind}_to_start"] = {loss: entry.to_start(kind, loss).to_dict() for loss in losses}
        if reference is not None and reference is not entry:
            record[f"{kind}_to_evolq"] = {loss: entry.to(reference, kind, loss).to_dict() for loss in losses}
    return record


def comparison_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """The comparison as rows of cells: a header, the float network, the start, then the methods."""
    loss = record["loss"]
    header = [
        "",
        "images spent",
        f"search {loss}",
        f"test {loss}",
        "test loss",
        "test top-1",
        "top-1 to start",
        "to Evol-Q",
        "s",
    ]
    rows = [header]
    for label in ("float", "start"):
        search, test = (record[label][kind] for kind in ("search", "test"))
        rows.append(
            [
                label,
                "",
                _text(search.get(loss), 4),
                _text(test.get(loss), 4),
                _text(test.get("loss"), 4),
                _text(test.get("top1"), 1),
                "",
                "",
                "",
            ]
        )
    for entry in record["methods"]:
        label = entry["label"]
        assert not entry["selected_on_test"] or SELECTED_ON_TEST in label
        spread = entry["search"][loss]["seeds_sd"]
        rows.append(
            [
                label,
                f"{np.mean(entry['spent']):.0f}",
                _text(entry["search"][loss]["mean"], 4) + ("" if np.isnan(spread) else f" ±{spread:.4f}"),
                _text(entry["test"][loss]["mean"], 4),
                _text(entry["test"]["loss"]["mean"], 4),
                _text(entry["test"]["top1"]["mean"], 1),
                _difference(entry["test_to_start"]["top1"]),
                _difference(entry["test_to_evolq"]["top1"]) if "test_to_evolq" in entry else "",
                f"{np.mean(entry['seconds']):.0f}",
            ]
        )
    return rows


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def _difference(difference: Mapping[str, float]) -> str:
    return f"{difference['mean']:+.1f} [{difference['low']:+.1f}, {difference['high']:+.1f}]"
