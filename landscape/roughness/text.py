"""Records of roughness as tables of text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from landscape.roughness.records import Measure, NoiseFloor, PopulationEstimate, Replication, Roughness, Span


def roughness_lines(record: Roughness) -> list[str]:
    """Measures, population estimates and replication."""
    images = f"{record.images:,} images" if record.images else "no per-image values"
    lines = [f"roughness of {record.value}: {record.points} points, {images}, level {record.level:g}"]
    if record.rough is not None and record.noise is not None:
        found = record.noise["jaggedness"]
        said = "rough, above" if record.rough else "not shown to be rough, within"
        lines.append(
            f"{said} the floor of noise: jaggedness {found.measured:.4g}, floor {found.floor:.4g} {found.unit}"
        )
    lines.append("")
    rows = [["measure", "value", "low", "high", "floor", "", "unit"]]
    rows += [_measure_row(measure) for measure in record.measures]
    lines += aligned(rows)
    lines += [f"  {note}" for note in dict.fromkeys(_notes(record.measures))]
    if record.noise is not None:
        lines += ["", *noise_floor_lines(record.noise)]
    if record.replication is not None:
        lines += ["", *replication_lines(record.replication)]
    return lines


def noise_floor_lines(record: NoiseFloor) -> list[str]:
    """One row a squared measure: measured, the sample's part, the population's with its interval, floor, images."""
    lines = [f"squared measures of {record.value} on {record.images:,} images, and those of the population"]
    rows = [
        ["squared measure", "measured", "sample", "population", "low", "high", "floor", "", "images needed", "unit"]
    ]
    rows += [_estimate_row(estimate) for estimate in record.estimates]
    return lines + aligned(rows)


def verdict_lines(found: Mapping[str, PopulationEstimate | str]) -> list[str]:
    """For each value whether its jaggedness is more than noise of the images; see `jaggedness_of_values`."""
    rows = [["is it rough?", "", "jaggedness (RMS)", "noise alone, at most", "images needed", "unit"]]
    for name, estimate in found.items():
        if isinstance(estimate, str):
            rows.append([name, said(estimate), "-", "-", "-", ""])
            continue
        roots = [number(math.sqrt(each)) for each in (estimate.measured, estimate.floor)]
        rows.append([name, said(estimate), *roots, _count(estimate.images_needed), estimate.unit.removesuffix("^2")])
    reasons = dict.fromkeys(estimate for estimate in found.values() if isinstance(estimate, str))
    return aligned(rows) + [f"  {reason}" for reason in reasons]


def said(estimate: PopulationEstimate | str) -> str:
    """The verdict on one value: "yes", "not shown", or "not known" where there is no number (or a reason instead)."""
    if isinstance(estimate, str) or math.isnan(estimate.measured) or math.isnan(estimate.floor):
        return "not known"
    return "yes" if estimate.above_floor else "not shown"


def replication_lines(record: Replication) -> list[str]:
    """Correlations and roughness of disjoint halves."""
    unit = f" {record.unit}" if record.unit else ""
    half = record.images // 2
    return [
        f"disjoint halves of {half:,} images ({record.splits} random splits, middle 95 % of them):",
        f"  correlation of values {_span(record.values)}, of second differences {_span(record.second_differences)}",
        f"  RMS second difference of their mean {record.roughness_of_mean.mean:.4g}{unit}, "
        f"of half their difference (noise alone) {record.roughness_of_half_difference.mean:.4g}{unit}",
    ]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines: first and last column to the left, the others to the right."""
    last = len(rows[0]) - 1
    widths = [max(len(row[column]) for row in rows) for column in range(last + 1)]
    return [
        "  ".join(
            cell.ljust(width) if column in (0, last) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _measure_row(measure: Measure) -> list[str]:
    said = {True: "rough", False: "noise", None: ""}[measure.rough]
    floor = "-" if measure.rougher is None else number(measure.floor)
    ends = [number(measure.low), number(measure.high)]
    return [measure.label, number(measure.value), *ends, floor, said, measure.unit]


def _estimate_row(estimate: PopulationEstimate) -> list[str]:
    cells = [estimate.measured, estimate.sample_part, estimate.estimate, estimate.low, estimate.high, estimate.floor]
    said = "above" if estimate.above_floor else "noise"
    return [estimate.label, *(number(cell) for cell in cells), said, _count(estimate.images_needed), estimate.unit]


def _notes(measures: Sequence[Measure]) -> list[str]:
    return [
        measure.note if len(measure.note) > 40 else f"{measure.label}: {measure.note}"
        for measure in measures
        if measure.note
    ]


def _span(span: Span) -> str:
    return f"{span.mean:.2f} ({span.low:.2f} to {span.high:.2f})"


def _count(images: float) -> str:
    return "-" if not math.isfinite(images) else f"{math.ceil(images):,}"


def number(value: float) -> str:
    """Four digits; a dash for what is not known."""
    return "-" if math.isnan(value) else f"{value:.4g}"
