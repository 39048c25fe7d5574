"""``landscape optimize`` and ``landscape compare``: the commands that this package adds to the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from evolq.comparison import compare as compare_methods
from evolq.comparison import comparison_record, comparison_rows, parse_methods
from evolq.registry import find_method, method_names
from evolq.run import Found, MethodOptions, open_study_run, run_method, run_settings
from evolq.study import SearchOptions, Study, build_study, study_description
from landscape.cli.options import EngineOptions, RunOptions, progress_bar
from landscape.cli.runs import RunFolder, aligned, say, write_json
from landscape.engine import choose_engine
from landscape.errors import UserError
from landscape.setup import ProblemOptions, gather
from landscape.store import RunStore


@dataclass(frozen=True)
class CompareOptions:
    """Which optimizers are compared.

    Attributes:
        methods: Names with commas, each with /preset behind if it has one: evolq/released,evolq/ours,random,adam.
        seeds: How many runs of each, with seeds 0, 1, ...
        scales: What moves: attention, weights, activations or all; each method's own choice by default.
        zero_points: Whether zero points move too; each method's own choice by default.
        tie: Whether the channels of a layer move together; each method's own choice by default.
    """

    methods: str = "evolq/released,evolq/ours,random,adam,hessian,cmaes,omse"
    seeds: int = 3
    scales: str | None = None
    zero_points: bool | None = None
    tie: bool | None = None


def optimize(
    problem: ProblemOptions,
    search: SearchOptions,
    method: MethodOptions,
    engine: EngineOptions,
    run: RunOptions,
    show: Annotated[bool, typer.Option("--list", help="List the methods and their presets, and do nothing.")] = False,
) -> None:
    """Search better scales with one optimizer; the found network is judged on the test images once, at the end."""
    if show:
        print("\n".join(aligned([["method", "presets", "needs"], *_methods()])))
        return
    method.kind()
    with _open_study(problem, search, [method], engine, run, method.file_name) as (study, store):
        found = run_method(study, method, store, progress_bar())
        if store.status != "finished":
            store.finish({"spent": found.result["spent"]})
        folder = store.folder
    record = {"run": str(folder), "file": str(found_file(folder, method)), **_found_record(found, study)}
    if run.json:
        write_json(record)
        return
    print("\n".join(aligned(_found_rows(found, study))))
    print(f"\n{found.result['spent']} images spent in {found.result['seconds']:.0f} s; network: {record['file']}")


def compare(
    problem: ProblemOptions, search: SearchOptions, options: CompareOptions, engine: EngineOptions, run: RunOptions
) -> None:
    """Compare optimizers at equal budget: losses, top-1 (once, at the end), intervals, paired differences."""
    common: dict[str, Any] = {name: getattr(options, name) for name in ("scales", "zero_points", "tie")}
    methods = parse_methods(options.methods, options.seeds, **common)
    with _open_study(problem, search, methods, engine, run, "compare") as (study, store):
        entries = compare_methods(study, methods, store, progress_bar())
        record = {"run": str(store.folder), **comparison_record(entries, study)}
        if store.status != "finished":
            store.finish({"methods": len(entries)})
    if run.json:
        write_json(record)
        return
    print("\n".join(aligned(comparison_rows(record))))
    print(f"\n{record['interval']}; top-1 in percent, differences in points; run: {record['run']}")


def found_file(folder: Path, method: MethodOptions) -> Path:
    """Where the found network lies."""
    return folder / "networks" / f"{method.file_name}.safetensors"


def _methods() -> list[list[str]]:
    rows = []
    for name in method_names():
        try:
            kind = find_method(name)
            rows.append([name, ", ".join(kind.PRESETS) or "-", kind.needs])
        except UserError as error:
            rows.append([name, "-", str(error)])
    return rows


@contextmanager
def _open_study(
    problem: ProblemOptions,
    search: SearchOptions,
    methods: list[MethodOptions],
    engine: EngineOptions,
    run: RunOptions,
    stem: str,
) -> Iterator[tuple[Study, RunStore]]:
    """The study, and its open run; what can be wrong is found before the long work."""
    _, words = choose_engine(engine.engine, engine.device)
    with RunFolder(run) as place:
        ingredients = gather(problem)
        for method in methods:
            method.check(ingredients)
        model = problem.model.rpartition(":")[2]
        folder = place.claim(f"{model}-{ingredients.scheme().bits}-{stem}")
        stored = None
        if run.resume and RunStore.exists(folder):
            with RunStore.open(folder) as store:
                store.check_settings(run_settings(study_description(ingredients, search), methods))
                stored = {name: store.load_array(name) for name in store.array_names()}
        say(f"run {folder}: budget {search.images_to_spend()} images, {words}")
        study = build_study(ingredients, search, progress=progress_bar(), stored=stored, **vars(engine))
        with open_study_run(folder, study, methods, run.resume) as store:
            yield study, store


def _found_record(found: Found, study: Study) -> dict[str, Any]:
    trajectory = found.trajectory
    return {
        "method": trajectory.method,
        "preset": trajectory.preset,
        "label": trajectory.label,
        "seed": trajectory.seed,
        "loss": trajectory.loss,
        "budget": study.options.images_to_spend(),
        "points": len(trajectory),
        "float": {"search": study.search.float_values(), "test": study.test.float_values()},
        **found.result,
    }


def _found_rows(found: Found, study: Study) -> list[list[str]]:
    loss = found.trajectory.loss
    columns = [("search", loss), ("test", loss), ("test", "loss"), ("test", "top1")]
    columns = list(dict.fromkeys(columns))
    rows = [["", *(f"{kind} {name}" for kind, name in columns)]]
    floats = {"search": study.search.float_values(), "test": study.test.float_values()}
    for label, values in (
        ("float network", floats),
        ("start", found.result["start"]),
        (found.trajectory.label, found.result["end"]),
    ):
        rows.append([label, *(_number(values[kind].get(name), name) for kind, name in columns)])
    return rows


def _number(value: float | None, name: str) -> str:
    return "-" if value is None else f"{value:.1f}" if name == "top1" else f"{value:.4f}"
