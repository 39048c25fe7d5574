"""A study: one quantized network, the images that a search may see, and the test images that it may not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evolq.objective import NetworkObjective, split_evenly
from evolq.space import FloatArray, SpaceOptions, network_space
from landscape.engine import Evaluator
from landscape.errors import UserError
from landscape.losses import Outputs, loss_function, one_thread, per_image
from landscape.problem import Problem
from landscape.progress import Progress, silent
from landscape.quant.network import QuantizedNetwork
from landscape.setup import Ingredients, ProblemOptions, build, gather, on_images, search_images, stored_arrays
from landscape.space import listed


@dataclass(frozen=True)
class SearchOptions:
    """What is searched for, and with how much.

    Attributes:
        search_images: Images that the search sees, drawn from train; the calibration images are the first of them.
        loss: What is minimised: infonce, loss (cross-entropy with labels), mse, kl, cosine, fisher or infonce@T.
        budget: In images through the full quantized network (a gradient counts three for each image); by default 480
            evaluations of all search images, as one run of the released Evol-Q over 12 blocks.
        select_on_test: Keep the checkpoint with the best top-1 on the test images, as the released code does. A fault,
            here only to imitate it; the result says so wherever it appears.
        keep_points: Keep the coordinates of every visited point, for pictures of the path.
    """

    search_images: int = 1000
    loss: str = "infonce"
    budget: int | None = None
    select_on_test: bool = False
    keep_points: bool = False

    def __post_init__(self) -> None:
        if self.search_images < 2:
            raise UserError(f"--search-images {self.search_images} is too few; give at least 2")
        if self.budget is not None and self.budget < 0:
            raise UserError(f"--budget {self.budget} is negative; give a number of images")
        loss_function(self.loss)

    def images_to_spend(self) -> int:
        """The budget in images."""
        return 480 * self.search_images if self.budget is None else self.budget


@dataclass(repr=False)
class Study:
    """One calibrated network on two sets of images.

    Attributes:
        options: What is searched for.
        ingredients: Model, images and the selection of scales.
        search: The network on the search images, from ``train``.
        test: The same network on the test images, from ``val``.
    """

    options: SearchOptions
    ingredients: Ingredients
    search: Problem
    test: Problem
    _start: tuple[dict[str, FloatArray], dict[str, FloatArray]] | None = None

    def __repr__(self) -> str:
        """One line: network and bits, what moves, loss and budget, images, engine."""
        search, options = self.search, self.options
        network = f"{self.ingredients.options.model} {search.network.scheme.bits}"
        names = self._names()
        moving = "scales of each method's choice" if names is None else f"scales of {listed(names)}"
        images = f"{len(search.images)} search and {len(self.test.images)} test images"
        task = f"{options.loss} with a budget of {options.images_to_spend()} images"
        return f"Study({network}, {moving}, {task}, {images}, engine {search.engine})"

    def objective(self, space: SpaceOptions) -> NetworkObjective:
        """The loss on the search images over a search space.

        Raises:
            UserError: The network has no such scales.
        """
        names = self._names()
        images = len(self.search.images)
        parts = split_evenly(images, self.search.loss_options.batch)
        made = network_space(self.search.network, space, images, parts, names)
        return NetworkObjective(self.search, made, self.options.loss, start=self.start_losses()[0])

    def _names(self) -> tuple[str, ...] | None:
        """Scales of the block or layers asked for; None where the method chooses."""
        chosen = self.ingredients.options
        return None if chosen.block is None and chosen.layers is None else self.ingredients.names

    def search_losses(self, network: QuantizedNetwork) -> dict[str, FloatArray]:
        """Losses of the single search images, by name, each float64 (images,); top1 is 0.0 or 1.0."""
        return _losses(self.search, network, self.options.loss)

    def test_losses(self, network: QuantizedNetwork) -> dict[str, FloatArray]:
        """The same of the test images. Only for the final verdict."""
        return _losses(self.test, network, self.options.loss)

    def start_losses(self) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """Losses of the single images at the start, of the search and of the test images; computed once."""
        if self._start is None:
            network = self.search.network
            self._start = self.search_losses(network), self.test_losses(network)
        return self._start

    def description(self) -> dict[str, Any]:
        """What decides the values, as plain data."""
        return study_description(self.ingredients, self.options)


def study_description(ingredients: Ingredients, options: SearchOptions) -> dict[str, Any]:
    """What decides a study's values, known before the long work."""
    searched = {entry.name: getattr(options, entry.name) for entry in fields(options)}
    return {**ingredients.description(), **searched, "budget": options.images_to_spend()}


def load_study(*, engine: str = "auto", progress: Progress = silent, **options: Any) -> Study:
    """A study from options named as on the command line: those of `ProblemOptions` and of `SearchOptions`.

    Raises:
        UserError: An option cannot be used.
    """
    mine = {entry.name for entry in fields(SearchOptions)}
    theirs = {entry.name for entry in fields(ProblemOptions)}
    unknown = sorted(set(options) - mine - theirs)
    if unknown:
        raise UserError(f"unknown option {unknown[0]!r}; options are {', '.join(sorted(mine | theirs))}")
    search = SearchOptions(**{name: value for name, value in options.items() if name in mine})
    ingredients = gather(ProblemOptions(**{name: value for name, value in options.items() if name in theirs}))
    return build_study(ingredients, search, progress=progress, engine=engine)


def build_study(
    ingredients: Ingredients,
    options: SearchOptions,
    *,
    progress: Progress = silent,
    stored: Mapping[str, npt.NDArray[Any]] | None = None,
    **engine: Any,
) -> Study:
    """Do the long work: calibration, and the float network on both sets of images; or take both from a stored run.

    Args:
        ingredients: Of `landscape.setup.gather`; its images are the test images.
        options: What is searched for.
        progress: Who is told.
        stored: Arrays of `study_arrays`.
        **engine: ``engine``, ``device``, ``cache_gb`` and ``chunk`` of `landscape.setup.build`.

    Raises:
        UserError: The test images are no test images, or something cannot be used.
    """
    if ingredients.options.split != "val":
        raise UserError("--split train makes no test images; a search needs --split val (it takes its own from train)")
    images = search_images(ingredients, options.search_images)
    test = build(ingredients, progress=progress, stored=stored, **engine)
    teacher = None if stored is None else stored["search_teacher"]
    search = on_images(test, ingredients, images, progress=progress, teacher=teacher)
    return Study(options, ingredients, search, test, _stored_start(stored or {}))


def start_arrays(study: Study) -> dict[str, npt.NDArray[Any]]:
    """Losses of the single images at the start, as a run keeps them."""
    search, test = study.start_losses()
    return {
        f"start/{kind}/{name}": v for kind, found in (("search", search), ("test", test)) for name, v in found.items()
    }


def _stored_start(
    stored: Mapping[str, npt.NDArray[Any]],
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]] | None:
    found: dict[str, dict[str, FloatArray]] = {"search": {}, "test": {}}
    for key, array in stored.items():
        if key.startswith("start/"):
            _, kind, name = key.split("/", 2)
            found[kind][name] = array
    return (found["search"], found["test"]) if found["search"] else None


def study_arrays(study: Study) -> dict[str, npt.NDArray[Any]]:
    """What a run keeps so that it continues on the very same network and teacher."""
    return {**stored_arrays(study.test), "search_teacher": study.search.teacher.numpy().astype(np.float32)}


def _losses(problem: Problem, network: QuantizedNetwork, loss: str) -> dict[str, FloatArray]:
    evaluator = Evaluator(network, problem.images, (), problem.arithmetic, problem.chunk, 0)
    names = tuple(dict.fromkeys((*problem.loss_options.names, "loss", "top1", loss)))
    options = problem.loss_options.__class__(problem.loss_options.temperature, problem.loss_options.batch, names)
    logits: torch.Tensor = evaluator.logits(network)
    with one_thread():
        found = per_image(Outputs(logits, problem.images.labels, problem.teacher, options))
    return {name: value.numpy() for name, value in found.items()}
