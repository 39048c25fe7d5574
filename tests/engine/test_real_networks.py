"""Every engine on a real network and real images, at many points around the centre."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from landscape.engine import Arithmetic, Evaluator, Reference, choose_engine
from landscape.errors import UserError
from landscape.problem import Problem
from landscape.quant.network import QuantizedNetwork
from landscape.setup import load_problem

POINTS, BLOCK, IMAGES = 50, 5, 2


def _engines() -> dict[str, Arithmetic]:
    found = {}
    for name in ("portable", "native"):
        try:
            found[name] = choose_engine(name)[0]
        except UserError:  # no compiler, or no x86
            continue
    return found


def _moved(network: QuantizedNetwork, seed: int) -> QuantizedNetwork:
    """Scales of one block's qkv and proj moved by 1 % or 10 %; every fifth point moves all scales behind it as well."""
    generator = torch.Generator().manual_seed(seed)
    first = f"blocks.{BLOCK}."
    names = [f"{first}attn.{layer}.weight" for layer in ("qkv", "proj")]
    if seed % 5 == 4:
        names = [n for n in network.scale_names() if n.startswith(first) or n == "head.weight"]
    size = 0.01 if seed % 2 else 0.1
    noise = {n: torch.randn(network.scale(n).shape, generator=generator, dtype=torch.float64) for n in names}
    return network.with_scales({n: network.scale(n) * torch.exp(size * noise[n]) for n in names})


def _deit_tiny(shared_data: Path, bits: str, images: int, preset: str = "default") -> Problem:
    """The real network on some validation images."""
    return load_problem(
        model="deit_tiny_patch16_224",
        weights=str(shared_data / "weights" / "deit_tiny_patch16_224.safetensors"),
        data=str(shared_data / "imagenet-mini"),
        resize="none",
        crop=224,
        preset=preset,
        bits=bits,
        block=BLOCK,
        images=images,
        calib_images=8,
        engine="reference",
    )


@pytest.mark.slow
@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w3a8"])
def test_no_code_of_deit_tiny_differs_at_fifty_points(bits: str, shared_data: Path) -> None:
    problem = _deit_tiny(shared_data, bits, IMAGES)
    network, images = problem.network, problem.images
    moving = [n for n in network.scale_names() if n.startswith(f"blocks.{BLOCK}.") or n == "head.weight"]
    evaluators = {
        name: Evaluator(network, images, moving, engine)
        for name, engine in {"reference": Reference, **_engines()}.items()
    }
    assert len(evaluators) > 1
    for seed in range(POINTS):
        candidate = _moved(network, seed)
        logits = {name: evaluator.logits(candidate) for name, evaluator in evaluators.items()}
        for name, found in logits.items():
            assert torch.equal(found, logits["reference"]), (name, seed)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["default", "fq-vit", "fq-vit++", "evolq-script"])
@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w3a8"])
def test_all_codes_inside_deit_tiny_are_those_of_the_reference(bits: str, preset: str, shared_data: Path) -> None:
    problem = _deit_tiny(shared_data, bits, 1, preset)
    network = problem.network
    names = sorted(network.activations)
    found = {
        name: Evaluator(network, problem.images, (), engine).codes(network, names, 1)
        for name, engine in {"reference": Reference, **_engines()}.items()
    }
    for engine, codes in found.items():
        for name in names:
            assert torch.equal(codes[name], found["reference"][name]), (engine, name)
