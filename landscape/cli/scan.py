"""``landscape scan``: quantize a network, evaluate it on a line or a grid around its scales, store and draw that."""

from __future__ import annotations

from pathlib import Path

import torch

from landscape.cli.options import EngineOptions, RunOptions, progress_bar
from landscape.cli.runs import RunFolder, save_pictures, say, summary_lines, summary_record, write_json
from landscape.engine import choose_engine
from landscape.scan import ScanOptions, continue_scan, load_surface, open_run, run_settings, scan_directions
from landscape.setup import PLACES, Ingredients, ProblemOptions, build, gather
from landscape.store import RunStore
from landscape.surface import Surface


def scan(problem: ProblemOptions, grid: ScanOptions, engine: EngineOptions, run: RunOptions) -> None:
    """Scan the landscape of a quantized network over its scales; writes a run folder with surface.png and .html."""
    choose_engine(engine.engine, engine.device)
    with RunFolder(run) as place:
        ingredients = gather(problem)
        folder = place.claim(_stem(ingredients, grid))
        finished = False
        if run.resume and RunStore.exists(folder):
            with RunStore.open(folder) as store:
                store.check_settings(run_settings(ingredients.description(), grid), PLACES)
                finished = store.status == "finished"
        if finished:
            say(f"the run in {folder} is finished already: nothing to do")
        else:
            _compute(ingredients, grid, engine, run, folder)
        _tell(load_surface(folder), folder, run.json)


def _compute(ingredients: Ingredients, grid: ScanOptions, engine: EngineOptions, run: RunOptions, folder: Path) -> None:
    _, words = choose_engine(engine.engine, engine.device)
    say(f"run {folder}: {grid.points**grid.dims} points, {len(ingredients.images)} images, {words}")
    progress = progress_bar()
    stored = None
    if run.resume and RunStore.exists(folder):
        with RunStore.open(folder) as store:
            stored = {name: store.load_array(name) for name in store.array_names()}
    problem = build(ingredients, **vars(engine), progress=progress, stored=stored)
    directions = scan_directions(problem, grid) if stored is None else torch.from_numpy(stored["directions"])
    settings = run_settings(problem.description, grid)
    with open_run(folder, settings, run.resume, problem, directions) as store:
        continue_scan(problem, grid, directions, store, progress)


def _tell(surface: Surface, folder: Path, as_json: bool) -> None:
    from landscape.roughness import jaggedness_of_values, verdict_lines

    found = jaggedness_of_values(surface)
    with RunStore.open(folder) as store:
        record = summary_record(store, surface)
    record["jaggedness"] = {name: {"unknown": e} if isinstance(e, str) else e.to_dict() for name, e in found.items()}
    if not as_json:
        print("\n".join([*summary_lines(surface), "", *verdict_lines(found)]), flush=True)
    record["files"] = save_pictures(surface, folder, found)
    if as_json:
        write_json(record)
        return
    print(f"\n{record['images_per_second']:.0f} images/s; pictures: {', '.join(record['files'])}")


def _stem(ingredients: Ingredients, grid: ScanOptions) -> str:
    options = ingredients.options
    model = options.model.rpartition(":")[2]
    part = f"block{options.block}" if options.block is not None else "layers" if options.layers else "default"
    return f"{model}-{ingredients.scheme().bits}-{part}-{grid.dims}d"
