"""The CUDA path on a GPU that is none: where tensors are, and which products are asked of the GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import evolq
from landscape.engine import Evaluator, Reference
from landscape.engine.evaluator import Arithmetic
from landscape.engine.portable import Portable
from landscape.engine.portable.products import FLOAT, SIGNED, fastest
from landscape.images import ImageSet
from landscape.quant.network import QuantizedNetwork
from tests.engine import test_operations as operations
from tests.engine.networks import NETWORKS, images, perturbed, quantized, with_powers_of_two
from tests.engine.pretended_gpu import GPU, pretended_gpu
from tests.graph.operations import STEPPED

BLOCK = ["blocks.1.attn.qkv.weight", "blocks.1.attn.proj.weight"]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is compiled for a GPU needs one. The products that were measured here say nothing of another device."""
    monkeypatch.setenv("LANDSCAPE_COMPILE", "0")
    fastest.cache_clear()
    yield
    fastest.cache_clear()


def on_gpu(network: QuantizedNetwork, sibling: Reference | None) -> Portable:
    return Portable(network, sibling, "cuda")


def all_codes(network: QuantizedNetwork, chosen: ImageSet, chunk: int = 2) -> dict[str, Tensor]:
    with pretended_gpu():
        evaluator = Evaluator(network, chosen, (), on_gpu, chunk)
        found = {
            **evaluator.codes(network, list(network.activations), len(chosen)),
            "logits": evaluator.logits(network),
        }
    assert all(tensor.device.type == "cpu" for tensor in found.values())
    return found


def expected_codes(network: QuantizedNetwork, chosen: ImageSet) -> dict[str, Tensor]:
    evaluator = Evaluator(network, chosen, (), Reference)
    return {**evaluator.codes(network, list(network.activations), len(chosen)), "logits": evaluator.logits(network)}


def different(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    assert found.keys() == expected.keys()
    return [name for name in expected if not torch.equal(found[name], expected[name])]


def test_the_pretended_gpu_refuses_what_a_gpu_refuses() -> None:
    with pretended_gpu():
        there, here = torch.arange(6.0, device="cuda").reshape(2, 3), torch.ones(3)
        assert there.device == GPU and torch.equal((there[1] + torch.tensor(1.0)).cpu(), torch.tensor([4.0, 5.0, 6.0]))
        for refused in (lambda: there + here, lambda: torch.cat([there[0], here]), lambda: there[0].copy_(here) + here):
            with pytest.raises(RuntimeError, match="is on the CPU"):
                refused()
        codes = torch.ones((32, 8), dtype=torch.uint8, device="cuda")
        for a, b in ((codes, codes[:8].view(torch.int8)), (codes[:16].view(torch.int8), codes[:8].view(torch.int8))):
            with pytest.raises(RuntimeError, match="_int_mm on CUDA"):
                torch._int_mm(a, b)
        with pytest.raises(RuntimeError, match="not implemented on CUDA for integers"):
            codes.int() @ codes[:8].int()
        assert fastest("cuda") in (SIGNED, FLOAT)


@pytest.mark.parametrize("way", [SIGNED, FLOAT])
@pytest.mark.parametrize("name", [*NETWORKS, "normed_vit", "mobilenetv3", "products"])
def test_codes_equal_the_reference_for_every_family(name: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landscape.engine.portable.engine.fastest", lambda device, wide=True: way)
    network = quantized(name)
    chosen = images(3, side=network.graph.input_shape[-1])
    assert different(all_codes(network, chosen), expected_codes(network, chosen)) == []


@pytest.mark.parametrize(
    ("bits", "options"),
    [
        ("w4a8", {"residual": "tensor"}),
        ("w8a8", {"layer_norm": "integer"}),
        ("w4a8s4", {"softmax": "log2"}),
        ("w3a8", {"bias_correction": "none"}),
        ("w4a8", {"bias_correction": "output"}),
    ],
)
def test_codes_equal_the_reference_in_every_scheme(bits: str, options: dict[str, str]) -> None:
    network, chosen = quantized("vit", bits, **options), images(3)
    for moved in (network, with_powers_of_two(network)):
        assert different(all_codes(moved, chosen), expected_codes(moved, chosen)) == []


@pytest.mark.parametrize("name", STEPPED)
def test_codes_equal_the_reference_for_every_operation(name: str) -> None:
    network, chosen = operations.quantized(name), operations.images()
    assert different(all_codes(network, chosen), expected_codes(network, chosen)) == []


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_candidates_run_together_from_a_cache_that_may_be_on_disk(cache_bytes: int) -> None:
    network, chosen = quantized("vit"), images(6)
    candidates = [perturbed(network, BLOCK, seed) for seed in range(11)]
    with pretended_gpu():
        evaluator = Evaluator(network, chosen, BLOCK, on_gpu, 2, cache_bytes)
        assert evaluator.candidates_at_once > 1
        for _ in range(2):  # the second time, what is kept is read
            found = evaluator.logits_of(candidates)
        assert (evaluator.cache.bytes_on_disk > 0) == (cache_bytes == 0)
    expected = Evaluator(network, chosen, BLOCK).logits_of(candidates)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_what_does_not_fit_into_memory_leaves_the_gpu_and_comes_back() -> None:
    network, chosen = quantized("vit"), images(64)
    with pretended_gpu():
        evaluator = Evaluator(network, chosen, BLOCK, on_gpu, 64, 0)
        evaluator.logits(network)
        kept = evaluator._chunks[0].kept
        assert kept is not None
        held = {name: value.held for name, value in kept.items() if hasattr(value, "held")}
        assert held and all(tensor.device.type == "cpu" for tensor in held.values() if tensor.numel() > 4096)
        read = evaluator.cache.read(kept)
        assert all(read[name].held.device == GPU for name in held)  # type: ignore[union-attr]


_SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("evolq/ours", "hessian", "newton", "brecq")]


@pytest.mark.parametrize("method", ["adam", *_SLOW])
def test_methods_find_the_same_there(method: str) -> None:
    study = evolq.load_study(
        model="digits_vit", bits="w3a8", calib_images=10, search_images=20, images=10, infonce_batch=10, budget=200
    )
    settings = {"evolq/ours": "steps=5,top=3,images=10,batch=10,check=2,descent=0.7"}.get(method)

    def optimized(arithmetic: Arithmetic) -> evolq.Found:
        search, test = (replace(problem, arithmetic=arithmetic) for problem in (study.search, study.test))
        return evolq.optimize(evolq.Study(study.options, study.ingredients, search, test), method, settings=settings)

    expected = optimized(Portable)
    with pretended_gpu():
        found = optimized(on_gpu)
    np.testing.assert_allclose(found.point, expected.point, rtol=1e-9)  # derivatives are no exact values
    np.testing.assert_allclose(found.trajectory.value, expected.trajectory.value, rtol=1e-9)
    assert len(set(found.trajectory.value)) > 1 or method == "brecq"
