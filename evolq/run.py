"""Runs of optimizers on a study: recorded in a run folder, resumable, judged on the test images once, at the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from evolq.driver import Driver
from evolq.objective import NetworkObjective
from evolq.optimizer import Optimizer
from evolq.registry import find_method
from evolq.settings import parse_settings
from evolq.space import FloatArray, SpaceOptions, searched_names
from evolq.study import Study, start_arrays, study_arrays
from landscape.errors import UserError
from landscape.losses import PERCENT
from landscape.progress import Progress, silent
from landscape.quant.network import QuantizedNetwork
from landscape.quant.parameters import save_quantized
from landscape.scan import versions
from landscape.setup import Ingredients
from landscape.store import RunStore, StepRow, TrajectoryTable
from landscape.trajectory import SELECTED_ON_TEST, Trajectory, load_trajectories, read_trajectory


@dataclass(frozen=True)
class MethodOptions:
    """Which optimizer, with which settings.

    Attributes:
        method: Name of an optimizer, with /preset behind where it has some: evolq/ours, evolq/released, adam, hessian
            (all: `landscape optimize --list`); or path/to/file.py:Class.
        settings: Further settings of the method, as name=value with commas: passes=2,population=20.
        scales: What moves: attention, weights, activations or all; the method's own choice by default.
        zero_points: Whether zero points move too; the method's own choice by default.
        tie: Whether the channels of a layer move together; the method's own choice by default.
        search_seed: Of the optimizer's random choices.
    """

    method: str = "evolq/ours"
    settings: str | None = None
    scales: str | None = None
    zero_points: bool | None = None
    tie: bool | None = None
    search_seed: int = 0

    def __post_init__(self) -> None:
        if self.search_seed < 0:
            raise UserError(f"--search-seed {self.search_seed} is negative; give 0 or a positive number")

    @property
    def optimizer_name(self) -> str:
        """The method without its preset."""
        return self.method if ":" in self.method else self.method.partition("/")[0]

    @property
    def preset(self) -> str | None:
        """The preset, if one is named."""
        return None if ":" in self.method else self.method.partition("/")[2] or None

    @property
    def name(self) -> str:
        """Of the trajectory in its run folder."""
        return f"{self.method}/seed{self.search_seed}"

    @property
    def file_name(self) -> str:
        """Of its files: the trajectory's name without what no file name may hold."""
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", self.name)

    def kind(self) -> type[Optimizer]:
        """The optimizer's class.

        Raises:
            UserError: There is none.
        """
        return find_method(self.optimizer_name, self.preset)

    def space(self) -> SpaceOptions:
        """Which parameters move: as asked for, else as the method likes it."""
        asked = {n: getattr(self, n) for n in ("scales", "zero_points", "tie") if getattr(self, n) is not None}
        return SpaceOptions(**{**self.kind().SPACE, **asked})

    def optimizer(self, objective: NetworkObjective, budget: int) -> Optimizer:
        """The optimizer, ready to run.

        Raises:
            UserError: A setting cannot be used.
        """
        kind, preset, settings = self._chosen()
        return kind.create(objective.info, preset, self.search_seed, budget, **settings)

    def check(self, ingredients: Ingredients) -> None:
        """Find before the long work what cannot be used.

        Raises:
            UserError: There is no such method, preset or setting, or the network has no scales that it moves.
        """
        kind, preset, settings = self._chosen()
        kind.make_options(preset, settings)
        if ingredients.options.block is None and ingredients.options.layers is None:
            searched_names(ingredients.graph, ingredients.scale_names, self.space().scales)

    def _chosen(self) -> tuple[type[Optimizer], str | None, dict[str, Any]]:
        """Class, preset (None where the whole method has the preset's name) and settings."""
        kind = self.kind()
        return kind, self.preset if self.preset in kind.PRESETS else None, parse_settings(self.settings, kind)

    def label(self, study: Study) -> str:
        """For legends and tables."""
        words = f"{self.optimizer_name} ({self.preset})" if self.preset else self.optimizer_name
        return f"{words}, {SELECTED_ON_TEST}" if study.options.select_on_test else words


@dataclass(repr=False)
class Found:
    """What a run ended with; a notebook shows it as a small table.

    Attributes:
        trajectory: The visited points.
        network: The found network.
        point: Its relative coordinates.
        result: ``start`` and ``end``: means of the losses on search and test images.
        search: Losses of the single search images at the end, by name.
        test: Losses of the single test images at the end, by name.
    """

    trajectory: Trajectory
    network: QuantizedNetwork
    point: FloatArray
    result: dict[str, Any]
    search: dict[str, FloatArray] = field(default_factory=dict)
    test: dict[str, FloatArray] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write the found network as a quantized file, for ``--quantized``.

        Raises:
            UserError: The file cannot be written.
        """
        save_quantized(Path(path), self.network, _origin(self.trajectory))

    def __repr__(self) -> str:
        """One line: what ran, how far, how well."""
        return f"Found({self.trajectory!r})"

    def _repr_html_(self) -> str:
        """Method and seed, points, budget and time, search loss and test losses from start to end."""
        return self.trajectory._repr_html_()


def _origin(trajectory: Trajectory) -> dict[str, Any]:
    return {"method": trajectory.label, "seed": trajectory.seed, "loss": trajectory.loss}


def optimize(
    study: Study,
    method: str = "evolq/ours",
    *,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> Found:
    """Run one optimizer and judge what it found.

    Args:
        study: Of `load_study`.
        method: Name of the optimizer, ``name/preset``, or ``path/to/file.py:Class``.
        out: Folder of the run; None keeps everything in memory.
        resume: Continue the run in that folder.
        progress: Who is told.
        **options: Of `MethodOptions`.

    Raises:
        UserError: An option cannot be used, or the folder cannot.
    """
    _check_names(method, options)
    chosen = MethodOptions(method=method, **options)
    if out is None:
        return _in_memory(study, chosen, progress)
    with open_study_run(Path(out), study, [chosen], resume) as store:
        return run_method(study, chosen, store, progress)


def _check_names(method: str, options: dict[str, Any]) -> None:
    known = [entry.name for entry in fields(MethodOptions) if entry.name != "method"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        settings = [entry.name for entry in fields(MethodOptions(method).kind().Options)]
        raise UserError(
            f"optimize has no option {unknown[0]!r}; options are {', '.join(known)}. Settings of {method} go into "
            f"settings='name=value,...': {', '.join(settings) or 'it has none'}. Budget and loss go to load_study"
        )


def run_settings(description: dict[str, Any], methods: Sequence[MethodOptions]) -> dict[str, Any]:
    """All that decides a run's values, as plain data; a run is resumed only with equal settings."""
    return {"kind": "optimize", **description, "methods": [asdict(method) for method in methods]}


def open_study_run(folder: Path, study: Study, methods: Sequence[MethodOptions], resume: bool) -> RunStore:
    """Make a run folder, or open the one that is to be resumed.

    Raises:
        UserError: The folder cannot be used, or holds a run with other settings.
    """
    settings = run_settings(study.description(), methods)
    if resume and RunStore.exists(folder):
        store = RunStore.open(folder, "append")
        try:
            store.check_settings(settings)
        except BaseException:
            store.close()
            raise
        return store
    store = RunStore.create(folder, settings, study_arrays(study))
    store.set_meta("versions", versions())
    store.set_meta("search_image_names", list(study.search.images.names))
    store.set_meta("image_names", list(study.test.images.names))
    return store


def run_method(study: Study, method: MethodOptions, store: RunStore, progress: Progress = silent) -> Found:
    """Run one optimizer in an open run folder, or go on with it, or read it if it is finished."""
    table = TrajectoryTable(store)
    there = set(store.array_names())
    for key, array in start_arrays(study).items():
        if key not in there:
            store.save_array(key, array)
    objective = study.objective(method.space())
    optimizer = method.optimizer(objective, study.options.images_to_spend())
    name = method.name
    if name not in table.names():
        table.add(name, _about(study, method, objective))
    result = table.result(name)
    if result is None:
        driver = _driver(
            study, objective, optimizer, lambda rows, state, static: table.append(name, rows, state, static)
        )
        point = _drive(driver, method, table.state(name), table.static(name), progress)
        found = _judge(study, objective, driver, method, point)
        _keep(store, table, method, found)
        result = found.result
    point = store.load_array(f"{name}/point")
    network = objective.space.at(point)
    losses = {
        kind: {key: store.load_array(f"{name}/{kind}/{key}") for key in result["losses"]} for kind in ("search", "test")
    }
    return Found(read_trajectory(table, name), network, point, result, losses["search"], losses["test"])


def load_found(folder: str | Path) -> list[Trajectory]:
    """The trajectories of a run folder; see `landscape.trajectory.load_trajectories`."""
    return load_trajectories(folder)


def _in_memory(study: Study, method: MethodOptions, progress: Progress) -> Found:
    objective = study.objective(method.space())
    optimizer = method.optimizer(objective, study.options.images_to_spend())
    driver = _driver(study, objective, optimizer, None)
    point = _drive(driver, method, None, None, progress)
    return _judge(study, objective, driver, method, point)


def _driver(study: Study, objective: NetworkObjective, optimizer: Optimizer, record: Any) -> Driver:
    def top1(point: FloatArray) -> float:
        return 100.0 * float(study.test_losses(objective.space.at(point))["top1"].mean())

    judge = top1 if study.options.select_on_test else None
    return Driver(objective, optimizer, study.options.images_to_spend(), record, study.options.keep_points, judge)


def _drive(
    driver: Driver, method: MethodOptions, state: bytes | None, static: bytes | None, progress: Progress
) -> FloatArray:
    with progress(method.name, driver.budget) as advance:
        driver.tell_progress(advance)
        return driver.run(state, static)


def _about(study: Study, method: MethodOptions, objective: NetworkObjective) -> dict[str, Any]:
    return {
        "method": method.optimizer_name,
        "preset": method.preset,
        "seed": method.search_seed,
        "label": method.label(study),
        "loss": study.options.loss,
        "space": asdict(method.space()),
        "names": list(objective.space.part_names),
        "sizes": list(objective.space.part_sizes),
        "groups": list(objective.info.group_names),
        "needs": method.kind().needs,
    }


def _judge(
    study: Study, objective: NetworkObjective, driver: Driver, method: MethodOptions, point: FloatArray
) -> Found:
    """Losses of start and end on both sets of images: the only look at the test images (but for the released rule)."""
    network = objective.space.at(point)
    search, test = study.search_losses(network), study.test_losses(network)
    start_search, start_test = study.start_losses()
    result = {
        "start": {"search": means(start_search), "test": means(start_test)},
        "end": {"search": means(search), "test": means(test)},
        "losses": sorted(test),
        "spent": driver.course.spent,
        "seconds": driver.course.seconds,
        "selected_on_test": study.options.select_on_test,
        "test_looks": driver.course.looks,
    }
    steps = driver.course.steps
    about = _about(study, method, objective)
    trajectory = _trajectory(steps, about, result)
    return Found(trajectory, network, point, result, search, test)


def means(losses: dict[str, FloatArray]) -> dict[str, float]:
    """Means over the images; top-1 in percent."""
    return {name: float(np.mean(loss)) * (100.0 if name in PERCENT else 1.0) for name, loss in losses.items()}


def _keep(store: RunStore, table: TrajectoryTable, method: MethodOptions, found: Found) -> None:
    name = method.name
    arrays = {f"{name}/point": found.point}
    for kind, losses in (("search", found.search), ("test", found.test)):
        arrays.update({f"{name}/{kind}/{key}": loss for key, loss in losses.items()})
    there = set(store.array_names())  # a process that was killed right here left some of them
    for key, array in arrays.items():
        if key not in there:
            store.save_array(key, array)
    networks = store.folder / "networks"
    networks.mkdir(exist_ok=True)
    save_quantized(networks / f"{method.file_name}.safetensors", found.network, _origin(found.trajectory))
    table.finish(name, found.result)


def _trajectory(steps: Sequence[StepRow], about: dict[str, Any], result: dict[str, Any]) -> Trajectory:
    kept = [step.coordinates for step in steps if step.coordinates is not None]
    return Trajectory(
        about["method"],
        about["preset"],
        about["seed"],
        about["label"],
        about["loss"],
        np.array([step.cost for step in steps]),
        np.array([step.value for step in steps]),
        np.array([step.best for step in steps]),
        np.array([step.seconds for step in steps]),
        np.array([step.block for step in steps], dtype=np.int64),
        np.array([step.accepted for step in steps], dtype=bool),
        np.array([step.images for step in steps], dtype=np.int64),
        np.stack(kept) if steps and len(kept) == len(steps) else None,
        tuple(about["names"]),
        tuple(about["sizes"]),
        result,
    )


def with_seeds(method: MethodOptions, seeds: int) -> list[MethodOptions]:
    """The method once for each seed 0, 1, ..."""
    return [replace(method, search_seed=seed) for seed in range(seeds)]
