"""Searches over DeiT-Tiny's scales with their points, and the surface on the plane of their paths.

    python figures/deit_paths.py                                    # about fifteen minutes on one free core
    python figures/deit_paths.py --images 50 --evaluations 6        # a quick look, with few images

Goes on where it stopped, and ends with the record `figures/kept/deit_paths.json`, of which the figures are drawn: the
points themselves (10,000 to 22,000 scales each) are too large for the repository.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.optimizer_study import problem_of
from evolq.run import MethodOptions, open_study_run, run_method
from evolq.study import SearchOptions, Study, build_study
from figures.command_line import FEWEST_IMAGES, Parser, run_script
from figures.places import Place, place_for, shared_data
from landscape.errors import UserError
from landscape.plots import save_record, surface_below, trajectories_info
from landscape.plots.info.plane import plane_through
from landscape.plots.info.trajectories import Below
from landscape.setup import gather
from landscape.store import RunStore
from landscape.trajectory import load_trajectories

METHODS = "random,sep-cmaes,evolq/released,hessian/tokens,evolq/ours"
THROUGH = ("hessian (tokens)", "evolq (ours)")
"""Searches whose ends the plane goes through."""
IMAGES = 200


def study_of(folder: Path, images: int, evaluations: int) -> Study:
    """The study of benchmarks/optimizer_study.py on fewer images, its points kept; or what is stored of it."""
    options = SearchOptions(search_images=images, budget=evaluations * images, keep_points=True)
    stored = None
    if RunStore.exists(folder):
        with RunStore.open(folder) as store:
            stored = {name: store.load_array(name) for name in store.array_names()}
    study = build_study(gather(replace(problem_of("w3a8", shared_data()), images=images)), options, stored=stored)
    open_study_run(folder, study, [], resume=True).close()  # what was calibrated stays, should the searches be stopped
    return study


def search(folder: Path, study: Study, methods: list[str], seeds: int) -> None:
    """Run what is not finished yet."""
    for method in methods:
        for seed in range(seeds):
            with open_study_run(folder, study, [], resume=True) as store:
                found = run_method(study, MethodOptions(method=method, search_seed=seed), store)
            print(found.trajectory, flush=True)


def record(folder: Path, study: Study, points: int, place: Place) -> Path:
    """Evaluate the plane of the start and two ends on the search images, and keep what a picture of it shows."""
    trajectories = [each for each in load_trajectories(folder, coordinates=True) if len(each) > 1]
    ends = {each.label: each for each in reversed(trajectories)}
    plane = plane_through(ends[THROUGH[0]], ends[THROUGH[1]], trajectories)
    below = surface_below(study.search, trajectories, points, plane)
    settings = {**below.surface.settings, "split": "train"}
    below = Below(below.plane, replace(below.surface, settings=settings))
    title = "deit_tiny_patch16_224, w3a8: search over quantization scales"
    info = trajectories_info(trajectories, value="infonce", title=title, below=below)
    place.make()
    return save_record(info, place.kept / "deit_paths.json")


def checked(methods: str, points: int) -> list[str]:
    """The names of methods.

    Raises:
        UserError: One is unknown, or one of those is missing that the plane goes through.
    """
    names = [name.strip() for name in methods.split(",")]
    for name in names:
        MethodOptions(method=name).kind()
    missing = {"hessian/tokens", "evolq/ours"} - {*names}
    if points and missing:
        raise UserError(
            f"--methods lacks {' and '.join(sorted(missing))}, whose ends span the plane; or give --points 0"
        )
    return names


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, evaluate the plane, keep the record."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=IMAGES, help="that a search sees; as many of the test images")
    parser.add_argument("--evaluations", type=int, default=24, help="of all search images, for each search")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--points", type=int, default=9, help="of the surface, along each side; 0: search only")
    parser.add_argument("--out", type=Path, help="another folder for the searches and the record")
    options = parser.parse_args(arguments)
    for name, least in (("images", FEWEST_IMAGES), ("evaluations", 2), ("seeds", 1), ("points", 0)):
        if getattr(options, name) < least:
            raise UserError(f"--{name} {getattr(options, name)} is too few; give {least} or more")
    methods = checked(options.methods, options.points)
    place = place_for(None if options.images == IMAGES else options.images, options.out)
    ending = "" if options.images == IMAGES else f"_{options.images}"
    folder = place.cache / f"deit_paths_search{ending}"
    study = study_of(folder, options.images, options.evaluations)
    search(folder, study, methods, options.seeds)
    if options.points:
        print(record(folder, study, options.points, place))


if __name__ == "__main__":
    run_script(main)
