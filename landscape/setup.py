"""From options, named as on the command line, to a `Problem`: model, images, calibration, selection of scales.

Everything that can be wrong with the options is found before the long work (calibration, teacher) starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from landscape.engine import choose_engine
from landscape.errors import UserError
from landscape.graph import Graph, capture
from landscape.image_files import SPLITS
from landscape.images import ImageSet, check_disjoint, load_images
from landscape.losses import LossOptions, loss_names
from landscape.models import LoadedModel, load_model
from landscape.problem import Problem, teacher_logits
from landscape.progress import Progress, silent
from landscape.quant.calibrate import keeps_input, passes_over_images, quantize_network
from landscape.quant.network import QuantizedNetwork, scale_names
from landscape.quant.parameters import from_parameters, load_quantized, parameters_sha256, to_parameters
from landscape.quant.placement import place_quantizers
from landscape.quant.scheme import CHOICES, Scheme, preset
from landscape.space import default_selection, scale_space, select_names

Arrays = Mapping[str, npt.NDArray[Any]]

PLACES = ("weights", "weights_from", "data", "calib_data", "quantized")
"""Settings that say where something lies; what was found there is a setting too, by its digest."""


@dataclass(frozen=True)
class ProblemOptions:
    """What a user chooses; the command line has the same names.

    Attributes:
        model: A bundled network, any timm model, or ``file.py:factory``.
        weights: File of weights; else random ones for timm models, unless `pretrained`.
        pretrained: Let timm download weights.
        data: Folder in ImageNet layout; the bundled digits if None.
        calib_data: Folder of the calibration images, where they lie elsewhere.
        resize: Shorter side in pixels, or "none"; the model's own if None.
        crop: Side of the centre crop in pixels.
        mean: Of the pixels, for normalisation.
        std: Likewise.
        preset: Quantization scheme by name.
        bits: Bit widths as ``w4a8``, or None for the preset's.
        weight_observer: In place of the preset's: minmax, omse or omse-shared.
        weight_codes: In place of the preset's: unsigned or signed.
        weight_scales: In place of the preset's: channel or tensor.
        activation_observer: In place of the preset's: minmax, ema, percentile or omse.
        activation_codes: In place of the preset's: unsigned or signed.
        residual: In place of the preset's: ptf or tensor.
        layer_norm: In place of the preset's: float or integer.
        softmax: In place of the preset's: uniform or log2.
        bias_correction: In place of the preset's: none, weight, output or auto.
        input: In place of the preset's: auto, quantized or exact.
        quantized: A file of `landscape quantize`; replaces calibration and the scheme.
        block: Attention block whose qkv and proj scales move; with neither block nor layers, the middle one.
        layers: Pattern for names of layers, instead of a block.
        which: ``weight``, ``activation`` or ``both``.
        calib_images: Number of calibration images, drawn from ``train``.
        images: Number of images that the losses are averaged over; None for all.
        split: Where these come from: ``val``, the test images, or ``train``, to see what a search on calibration images
            sees.
        seed: Of every random choice.
        losses: Names with commas, or ``all``: loss (cross-entropy), top1, infonce, mse, kl, cosine, fisher, infonce@T.
        infonce_temperature: T of infoNCE.
        infonce_batch: Images that infoNCE contrasts with one another.
    """

    model: str = "digits_vit"
    weights: str | None = None
    pretrained: bool = False
    data: str | None = None
    calib_data: str | None = None
    resize: str | None = None
    crop: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    preset: str = "default"
    bits: str | None = None
    weight_observer: str | None = None
    weight_codes: str | None = None
    weight_scales: str | None = None
    activation_observer: str | None = None
    activation_codes: str | None = None
    residual: str | None = None
    layer_norm: str | None = None
    softmax: str | None = None
    bias_correction: str | None = None
    input: str | None = None
    quantized: str | None = None
    block: int | None = None
    layers: str | None = None
    which: str = "weight"
    calib_images: int = 100
    images: int | None = None
    split: str = "val"
    seed: int = 0
    losses: str = "loss,top1,infonce"
    infonce_temperature: float = 3.0
    infonce_batch: int = 100

    def scheme(self) -> Scheme:
        """The quantization scheme: the preset, with bits and parts replaced.

        Raises:
            UserError: A name or a bit width is unknown.
        """
        scheme = preset(self.preset)
        if self.bits is not None:
            scheme = scheme.with_bits(self.bits)
        parts = {name: getattr(self, name) for name in CHOICES if getattr(self, name) is not None}
        return replace(scheme, **parts)

    def loss_options(self) -> LossOptions:
        """Which losses, and temperature and batch of infoNCE."""
        return LossOptions(self.infonce_temperature, self.infonce_batch, loss_names(self.losses))

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


@dataclass(frozen=True)
class Ingredients:
    """What is loaded and checked before the long work.

    Attributes:
        options: As given.
        model: The float network.
        graph: Its graph.
        calibration: Calibration images; None with a quantized file.
        images: Test images.
        quantized: The quantized network, if it came from a file.
        scale_names: All scales of the network.
        names: Scales that may move.
    """

    options: ProblemOptions
    model: LoadedModel
    graph: Graph
    calibration: ImageSet | None
    images: ImageSet
    quantized: QuantizedNetwork | None
    scale_names: tuple[str, ...]
    names: tuple[str, ...]

    def __repr__(self) -> str:
        """One line: network and bits, what may move, images."""
        network, calibration = f"{self.model.name} {self.scheme().bits}", self.calibration
        counts = f"{0 if calibration is None else len(calibration)} calibration and {len(self.images)} test images"
        return (
            f"Ingredients({network}, {len(self.names)} of {len(self.scale_names)} tensors' scales may move, {counts})"
        )

    def scheme(self) -> Scheme:
        """How the network is, or will be, quantized."""
        return self.options.scheme().for_graph(self.graph) if self.quantized is None else self.quantized.scheme

    def exact_input(self) -> bool:
        """Whether the images are not quantized."""
        if self.quantized is not None:
            return self.quantized.exact_input
        return keeps_input(self.scheme(), self.model.preprocessing.mean, self.model.preprocessing.std)

    def description(self) -> dict[str, Any]:
        """Where everything comes from: what decides the values, as plain data; known before the long work."""
        calibration = self.calibration
        return {
            **self.options.to_dict(),
            "bits": self.scheme().bits,
            "scheme": self.scheme().to_dict(),
            "exact_input": self.exact_input(),
            "weights_sha256": self.model.weights_sha256,
            "quantized_sha256": None if self.quantized is None else parameters_sha256(self.quantized),
            "weights_from": self.model.weights,
            "classes": self.model.num_classes,
            "images": len(self.images),
            "images_sha256": self.images.digest(),
            "calib_images": len(calibration) if calibration is not None else None,
            "calib_images_sha256": calibration.digest() if calibration is not None else None,
            "scales": list(self.names),
        }


def load_problem(
    *,
    engine: str = "auto",
    device: str = "cpu",
    cache_gb: float = 2.0,
    chunk: int = 8,
    progress: Progress = silent,
    **options: Any,
) -> Problem:
    """Load a network and images, quantize it, and select the scales that may move.

    Args:
        engine: ``auto``, or an engine by name; no influence on any value.
        device: ``cpu`` or ``cuda``, for engines that have the choice.
        cache_gb: Memory for what no moving scale reaches, in GiB.
        chunk: Images at a time; no influence on any value.
        progress: Who is told; see `landscape.progress`.
        **options: Of `ProblemOptions`.

    Raises:
        UserError: An option cannot be used.
    """
    known = {field.name for field in fields(ProblemOptions)}
    if not set(options) <= known:
        raise UserError(f"unknown option {sorted(set(options) - known)[0]!r}; options are {', '.join(sorted(known))}")
    ingredients = gather(ProblemOptions(**options))
    return build(ingredients, engine=engine, device=device, cache_gb=cache_gb, chunk=chunk, progress=progress)


def gather(options: ProblemOptions) -> Ingredients:
    """Load model and images, and check every option.

    Raises:
        UserError: An option cannot be used.
    """
    scheme = options.scheme()
    options.loss_options()
    model = load_model(
        options.model,
        options.weights,
        options.pretrained,
        resize=_resize(options.resize),
        crop=options.crop,
        mean=options.mean,
        std=options.std,
    )
    draw = (options.seed, model.preprocessing, model.num_classes)
    data = _path(options.data)
    if options.split not in SPLITS:
        raise UserError(f"--split {options.split!r} is unknown; give val for the test images, or train")
    images = load_images(data, options.split, options.images, *draw)
    calibration = None
    if options.quantized is None:
        calibration = load_images(_path(options.calib_data) or data, "train", options.calib_images, *draw)
        if options.split == "val":
            check_disjoint(calibration, images)
    size = model.preprocessing.size
    graph = capture(model.module, (model.preprocessing.channels, size, size))
    quantized = None
    if options.quantized is not None:
        quantized = load_quantized(Path(options.quantized), graph, model.weights_sha256)
        if options.bits is not None and quantized.scheme.with_bits(options.bits) != quantized.scheme:
            raise UserError(
                f"--bits {options.bits} was given, but {options.quantized} is quantized at {quantized.scheme.bits}; "
                "leave out --bits"
            )
        _check_scheme(options, quantized, graph)
        names = quantized.scale_names()
    else:
        exact_input = keeps_input(scheme, model.preprocessing.mean, model.preprocessing.std)
        placements = place_quantizers(graph, scheme, exact_input)
        names = scale_names(graph, scheme, placements)
    block, layers = options.block, options.layers
    if block is None and layers is None:
        block, layers = default_selection(graph)
    chosen = select_names(graph, names, block, layers, options.which)
    return Ingredients(options, model, graph, calibration, images, quantized, tuple(names), chosen)


def _check_scheme(options: ProblemOptions, quantized: QuantizedNetwork, graph: Graph) -> None:
    """Refuse a preset, or parts of one, that the file was not made with: they would be left out in silence."""
    given = [name for name in CHOICES if getattr(options, name) is not None]
    if options.preset == ProblemOptions.preset and not given:
        return
    parts = CHOICES if options.preset != ProblemOptions.preset else given
    asked, found = options.scheme().for_graph(graph).to_dict(), quantized.scheme.for_graph(graph).to_dict()
    for name in parts:
        if asked[name] != found[name]:
            flag = name if name in given else "preset"
            raise UserError(
                f"--{flag.replace('_', '-')} {getattr(options, flag)} was given, but {options.quantized} is quantized "
                f"with {name} {found[name]}; leave out --{flag.replace('_', '-')}"
            )


def build(
    ingredients: Ingredients,
    *,
    engine: str = "auto",
    device: str = "cpu",
    cache_gb: float = 2.0,
    chunk: int = 8,
    progress: Progress = silent,
    stored: Arrays | None = None,
) -> Problem:
    """Do the long work: calibrate and run the teacher, or take both from a stored run.

    Args:
        ingredients: Of `gather`.
        engine: Name of the engine.
        device: ``cpu`` or ``cuda``.
        cache_gb: Memory for what no moving scale reaches, in GiB.
        chunk: Images at a time.
        progress: Who is told.
        stored: Arrays of `stored_arrays`, to be used in place of the work.

    Raises:
        UserError: The engine is not to be had, or a value in the network is not finite.
    """
    arithmetic, _ = choose_engine(engine, device)
    network, teacher = _network(ingredients, progress, stored), None
    if stored is None:
        with progress("float network", len(ingredients.images)) as advance:
            teacher = teacher_logits(ingredients.model.module, ingredients.images, advance)
    else:
        teacher = torch.from_numpy(stored["teacher"].astype(np.float64))
    return Problem(
        network,
        scale_space(network, ingredients.names),
        ingredients.images,
        teacher,
        arithmetic,
        ingredients.options.loss_options(),
        chunk,
        int(cache_gb * 2**30),
        ingredients.description(),
    )


def search_images(ingredients: Ingredients, count: int) -> ImageSet:
    """Images that a search may look at, drawn from ``train`` with the same seed: the calibration images are the first.

    Args:
        ingredients: Of `gather`; its images are the test images.
        count: How many.

    Raises:
        UserError: There are too few, or one of them is a test image.
    """
    options, model = ingredients.options, ingredients.model
    folder = _path(options.calib_data) or _path(options.data)
    images = load_images(folder, "train", count, options.seed, model.preprocessing, model.num_classes)
    check_disjoint(images, ingredients.images)
    return images


def on_images(
    problem: Problem,
    ingredients: Ingredients,
    images: ImageSet,
    *,
    progress: Progress = silent,
    teacher: npt.NDArray[Any] | None = None,
) -> Problem:
    """The same quantized network, scales and losses on other images.

    Args:
        problem: Of `build`.
        ingredients: Of `gather`.
        images: The other images.
        progress: Who is told.
        teacher: Stored logits of the float network on these images, in place of computing them.
    """
    if teacher is not None:
        return replace(problem, images=images, teacher=torch.from_numpy(teacher.astype(np.float64)))
    with progress("float network", len(images)) as advance:
        return replace(problem, images=images, teacher=teacher_logits(ingredients.model.module, images, advance))


def stored_arrays(problem: Problem) -> dict[str, npt.NDArray[Any]]:
    """What a run keeps so that it continues on the very same network: quantization parameters and teacher."""
    arrays = {f"quantized/{name}": value.numpy() for name, value in to_parameters(problem.network).items()}
    return {**arrays, "teacher": problem.teacher.numpy().astype(np.float32)}


def _network(ingredients: Ingredients, progress: Progress, stored: Arrays | None) -> QuantizedNetwork:
    if ingredients.quantized is not None:
        return ingredients.quantized
    scheme, exact_input = ingredients.scheme(), ingredients.exact_input()
    if stored is not None:
        prefix = "quantized/"
        parameters = {
            name.removeprefix(prefix): torch.from_numpy(np.array(value))
            for name, value in stored.items()
            if name.startswith(prefix)
        }
        return from_parameters(ingredients.graph, scheme, exact_input, parameters)
    assert ingredients.calibration is not None
    with progress("calibration", passes_over_images(scheme) * len(ingredients.calibration)) as advance:
        return quantize_network(ingredients.graph, scheme, ingredients.calibration, exact_input, advance)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _resize(text: str | None) -> Any:
    if text is None or text == "none":
        return text
    if not str(text).isdigit():
        raise UserError(f"--resize {text!r} is neither a number of pixels nor 'none'")
    return int(text)
