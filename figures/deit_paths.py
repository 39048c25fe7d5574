"""Searches over DeiT-Tiny's scales with their points, and the surface on the plane of their paths.

    python figures/deit_paths.py                                    # about fifteen minutes on one free core
    python figures/deit_paths.py --images 50 --evaluations 6        # a quick look, with few images

Goes on where it stopped, and ends with the record `figures/kept/deit_paths.json`, of which the figures are drawn: the
points themselves (10,000 to 22,000 scales each) are too large for the repository.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evolq.run import MethodOptions, open_study_run, run_method
from evolq.study import SearchOptions, Study, build_study
from figures.runs import CACHE, DATA, HERE
from landscape.setup import ProblemOptions, gather
from landscape.store import RunStore

METHODS = "random,sep-cmaes,evolq/released,hessian/tokens,evolq/ours,adam"
FOLDER = CACHE / "deit_paths_search"


def study_of(images: int, evaluations: int) -> Study:
    """The study of benchmarks/optimizer_study.py on fewer images, its points kept; or what is stored of it."""
    data = HERE.parent / DATA
    problem = ProblemOptions(
        model="deit_tiny_patch16_224",
        weights=str(data / "weights" / "deit_tiny_patch16_224.safetensors"),
        data=str(data / "imagenet-mini"),
        resize="none",
        crop=224,
        preset="fq-vit++",
        bias_correction="weight",
        bits="w3a8",
        images=images,
    )
    options = SearchOptions(search_images=images, budget=evaluations * images, keep_points=True)
    stored = None
    if RunStore.exists(FOLDER):
        with RunStore.open(FOLDER) as store:
            stored = {name: store.load_array(name) for name in store.array_names()}
    return build_study(gather(problem), options, stored=stored)


def search(study: Study, methods: list[str], seeds: int) -> None:
    """Run what is not finished yet."""
    for method in methods:
        for seed in range(seeds):
            with open_study_run(FOLDER, study, [], resume=True) as store:
                found = run_method(study, MethodOptions(method=method, search_seed=seed), store)
            print(found.trajectory, flush=True)


def main() -> None:
    """Search, evaluate the plane, keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200, help="that a search sees; as many of the test images")
    parser.add_argument("--evaluations", type=int, default=24, help="of all search images, for each search")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--points", type=int, default=11, help="of the surface, along its longer side")
    options = parser.parse_args()
    study = study_of(options.images, options.evaluations)
    search(study, options.methods.split(","), options.seeds)


if __name__ == "__main__":
    main()
