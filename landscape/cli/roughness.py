"""``landscape roughness``: how rough a scanned surface is, and how much of that is noise of its images."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from landscape.cli.runs import say, write_json
from landscape.errors import UserError
from landscape.roughness import Roughness, gap_lines, generalisation_gap, rank_correlations, rank_lines
from landscape.roughness import roughness as measure
from landscape.scan import load_surface
from landscape.surface import Surface


def roughness(
    run: Annotated[str, typer.Argument(help="Folder of a scan, finished or not.")],
    value: Annotated[
        str, typer.Option(help="Values to measure, with commas; all for every value of the run.")
    ] = "loss",
    images: Annotated[
        int | None, typer.Option(help="Only the first so many images of the run (they lie in random order).")
    ] = None,
    level: Annotated[float, typer.Option(help="Of intervals and floors.")] = 0.95,
    draws: Annotated[int, typer.Option(help="Resamples behind intervals and floors.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of resamples and splits.")] = 0,
    ranks: Annotated[
        bool, typer.Option("--ranks", help="Also the rank correlation of every value's surface with that of the loss.")
    ] = False,
    calibration: Annotated[
        str | None, typer.Option(help="A scan of the same grid on calibration images (--split train), to compare with.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Measure a surface: each measure with its interval over images and the floor of noise, and the population's."""
    _check(level, draws, seed)
    surface = load_surface(run)
    if not surface.complete:
        say(f"{int(surface.computed.sum())} of {surface.computed.size} points are computed; the others are left out")
    names = _names(surface, value)
    found = {name: measure(surface, name, images=images, level=level, draws=draws, seed=seed) for name in names}
    compared = rank_correlations(surface, images=images, level=level, draws=draws, seed=seed) if ranks else ()
    gaps = {}
    if calibration is not None:
        other = load_surface(calibration)
        gaps = {
            name: generalisation_gap(other, surface, name, level=level, draws=draws, seed=seed)
            for name in names
            if name in surface.per_image
        }
    if as_json:
        records = {name: _record(each) for name, each in found.items()}
        side_by_side = {
            "ranks": [row.to_dict() for row in compared],
            "gaps": {name: gap.to_dict() for name, gap in gaps.items()},
        }
        write_json({"run": run, **records[names[0]], "values": records, **side_by_side})
        return
    print("\n\n".join(repr(record) for record in found.values()))
    if compared:
        print("\n" + "\n".join(rank_lines(compared)))
    for gap in gaps.values():
        print("\n" + "\n".join(gap_lines(gap)))


def _record(found: Roughness) -> dict[str, Any]:
    """With measures and population estimates by name."""
    record = found.to_dict()
    population = record.pop("noise")
    return {
        **record,
        "measures": {entry["name"]: entry for entry in record["measures"]},
        "population": {entry["name"]: entry for entry in population["estimates"]} if population else None,
    }


def _check(level: float, draws: int, seed: int) -> None:
    if not 0 < level < 1:
        raise UserError(f"--level {level:g} is no share; give a number between 0 and 1, such as 0.95")
    if draws < 1:
        raise UserError(f"--draws {draws} is not possible; give at least 1, better 1000")
    if seed < 0:
        raise UserError(f"--seed {seed} is negative; give 0 or a positive number")


def _names(surface: Surface, text: str) -> tuple[str, ...]:
    if text == "all":
        return surface.names
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in surface.values:
            raise UserError(f"this run has no value '{name}'; it has {', '.join(surface.names)}, or give all")
    return names
