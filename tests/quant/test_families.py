"""Every family, with random weights: quantize, evaluate three points, save, load, and get the same codes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from landscape.engine import Evaluator
from landscape.engine.reference import Reference
from landscape.images import ImageSet
from landscape.problem import Problem, teacher_logits
from landscape.quant.calibrate import quantize_network
from landscape.quant.network import QuantizedNetwork
from landscape.quant.parameters import load_quantized, save_quantized
from landscape.quant.scheme import preset
from landscape.space import default_selection, scale_space, select_names
from tests.graph.families import FAMILIES, graph, network

QUICK = ("deit", "swin", "levit-conv", "resnet18", "regnetx", "mobilenetv3-small", "efficientnet")
SLOW = tuple(name for name in FAMILIES if name not in QUICK)
MARKED = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]

SCHEME = replace(preset("default").with_bits("w4a8"), weight_observer="minmax")  # the search over shrink ratios is slow


def drawn(size: int, count: int = 3, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 10
    names = tuple(f"image/{seed}/{index}" for index in range(count))
    return ImageSet(pixels, labels, names, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "test", "train", seed)


def quantized(family: str) -> QuantizedNetwork:
    return quantize_network(graph(family), SCHEME, drawn(FAMILIES[family].size), exact_input=False)


def all_codes(network: QuantizedNetwork, images: ImageSet) -> dict[str, torch.Tensor]:
    codes = Evaluator(network, images, ()).codes(network, list(network.placements), len(images))
    for layer, quantizer in network.weights.items():
        weight = network.graph[layer].weight
        assert weight is not None
        codes[f"{layer}.weight"] = quantizer.codes(weight)
    return codes


@pytest.mark.parametrize("family", MARKED)
def test_a_network_is_quantized_scanned_saved_and_loaded_with_the_same_codes(family: str, tmp_path: Path) -> None:
    centre, images = quantized(family), drawn(FAMILIES[family].size, 2, seed=1)
    names = select_names(centre.graph, centre.scale_names(), *default_selection(centre.graph))
    space = scale_space(centre, names)
    problem = Problem(centre, space, images, teacher_logits(network(family), images), Reference)
    direction = torch.ones(1, space.dimension, dtype=torch.float64)
    points = [space.at([alpha], direction) for alpha in (-0.1, 0.0, 0.1)]
    found = problem.evaluate(points)
    assert all(torch.isfinite(torch.tensor(list(point.values.values()))).all() for point in found)
    assert found[1].values["flip_rate"] == 0.0 < min(found[0].values["flip_rate"], found[2].values["flip_rate"])

    file = tmp_path / "network.safetensors"
    save_quantized(file, centre, {"model": family})
    again = load_quantized(file, graph(family))
    before, after = all_codes(centre, images), all_codes(again, images)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    repeated = Problem(again, scale_space(again, names), images, problem.teacher, Reference).evaluate(points)
    assert [point.values for point in repeated] == [point.values for point in found]


@pytest.mark.parametrize("family", MARKED)
def test_eight_bits_come_closer_to_the_float_network_than_four(family: str) -> None:
    images = drawn(FAMILIES[family].size)
    teacher = teacher_logits(network(family), images)
    errors = {}
    for bits in ("w8a8", "w3a8"):
        scheme = replace(preset("default").with_bits(bits), weight_observer="minmax")
        found = quantize_network(graph(family), scheme, images, exact_input=False)
        errors[bits] = float((Evaluator(found, images, ()).logits(found) - teacher).square().mean())
    assert errors["w8a8"] < 0.5 * errors["w3a8"]
