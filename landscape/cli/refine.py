"""``landscape refine``: add grid lines to a finished scan where it changes most, or inside a region."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landscape.cli.options import EngineOptions, RunOptions, progress_bar
from landscape.cli.runs import RunFolder, save_pictures, say, summary_lines, summary_record, write_json
from landscape.engine import choose_engine
from landscape.refine import RefineOptions, check_refinement, original_problem
from landscape.refine import refine as add_lines
from landscape.scan import load_surface
from landscape.setup import build
from landscape.store import RunStore


def refine(
    run: Annotated[str, typer.Argument(help="Folder of the scan to refine; it is left as it is.")],
    options: RefineOptions,
    engine: EngineOptions,
    target: RunOptions,
) -> None:
    """Refine a scan in a new run: what is there is taken over, lines are added where the surface changes most."""
    _, words = choose_engine(engine.engine, engine.device)
    with RunFolder(target) as place:
        ingredients, arrays = original_problem(run)
        check_refinement(run, options)
        folder = place.claim(f"{Path(run).name}-refined")
        progress = progress_bar()
        say(f"run {folder}: {options.lines} lines more than {run}, {len(ingredients.images)} images, {words}")
        problem = build(ingredients, **vars(engine), progress=progress, stored=arrays)
        add_lines(problem, run, folder, resume=target.resume, progress=progress, **vars(options))
        surface = load_surface(folder)
        if not target.json:
            print("\n".join(summary_lines(surface)), flush=True)
        files = save_pictures(surface, folder)
    if target.json:
        with RunStore.open(folder) as store:
            write_json({**summary_record(store, surface, files), "refined_from": run})
        return
    print(f"\npictures: {', '.join(files)}")
