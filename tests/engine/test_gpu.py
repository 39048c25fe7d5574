"""The CUDA path on a GPU that is none: where tensors are, and which products are asked of the GPU.

The last test wants a real one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import evolq
from benchmarks import engine as benchmark
from benchmarks.workload import Workload
from landscape.engine import Evaluator, Reference
from landscape.engine.evaluator import Arithmetic
from landscape.engine.portable import Portable, compiling
from landscape.engine.portable.products import FLOAT, SIGNED, fastest
from landscape.images import ImageSet
from landscape.quant.network import QuantizedNetwork
from tests.engine import test_operations as operations
from tests.engine.networks import NETWORKS, images, network, perturbed, quantized, with_powers_of_two
from tests.engine.pretended_gpu import GPU, pretended_gpu
from tests.graph.operations import STEPPED

BLOCK = ["blocks.1.attn.qkv.weight", "blocks.1.attn.proj.weight"]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is compiled for a GPU needs one, and so does what is measured there."""
    monkeypatch.setattr(compiling, "usable", lambda: False)
    fastest.cache_clear()
    yield
    fastest.cache_clear()


def on_gpu(net: QuantizedNetwork, sibling: Reference | None) -> Portable:
    return Portable(net, sibling, "cuda")


def all_codes(
    net: QuantizedNetwork, chosen: ImageSet, gpu: Callable[[], AbstractContextManager[None]] = pretended_gpu
) -> dict[str, Tensor]:
    with gpu():
        evaluator = Evaluator(net, chosen, (), on_gpu, 2)
        found = {
            **evaluator.codes(net, list(net.activations), len(chosen)),
            "logits": evaluator.logits(net),
        }
    assert all(tensor.device.type == "cpu" for tensor in found.values())
    return found


def expected_codes(net: QuantizedNetwork, chosen: ImageSet) -> dict[str, Tensor]:
    evaluator = Evaluator(net, chosen, (), Reference)
    return {**evaluator.codes(net, list(net.activations), len(chosen)), "logits": evaluator.logits(net)}


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
@pytest.mark.parametrize("name", [*NETWORKS, "normed_vit", "mobilenetv3", "products", "groups"])
def test_codes_equal_the_reference_for_every_family(name: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landscape.engine.portable.engine.fastest", lambda device, wide=True: way)
    net = quantized(name)
    chosen = images(3, side=net.graph.input_shape[-1])
    assert different(all_codes(net, chosen), expected_codes(net, chosen)) == []


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
    net, chosen = quantized("vit", bits, **options), images(3)
    for moved in (net, with_powers_of_two(net)):
        assert different(all_codes(moved, chosen), expected_codes(moved, chosen)) == []


@pytest.mark.parametrize("name", STEPPED)
def test_codes_equal_the_reference_for_every_operation(name: str) -> None:
    net, chosen = operations.quantized(name), operations.images()
    assert different(all_codes(net, chosen), expected_codes(net, chosen)) == []


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_candidates_run_together_from_a_cache_that_may_be_on_disk(cache_bytes: int) -> None:
    net, chosen = quantized("vit"), images(6)
    candidates = [perturbed(net, BLOCK, seed) for seed in range(11)]
    with pretended_gpu():
        evaluator = Evaluator(net, chosen, BLOCK, on_gpu, 2, cache_bytes)
        assert evaluator.candidates_at_once > 1
        for _ in range(2):  # the second time, what is kept is read
            found = evaluator.logits_of(candidates)
        assert (evaluator.cache.bytes_on_disk > 0) == (cache_bytes == 0)
    expected = Evaluator(net, chosen, BLOCK).logits_of(candidates)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_what_does_not_fit_into_memory_leaves_the_gpu_and_comes_back() -> None:
    net, chosen = quantized("vit"), images(64)
    with pretended_gpu():
        evaluator = Evaluator(net, chosen, BLOCK, on_gpu, 64, 0)
        evaluator.logits(net)
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


def test_the_benchmark_runs_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = images(3)
    load = Workload(network("vit")[0], quantized("vit"), chosen, chosen, "a small one")
    monkeypatch.setattr("benchmarks.workload.load", lambda options: load)
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)  # the pretended tensors know no other
    monkeypatch.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "none")
    options = ["--batches", "2", "--blocks", "1", "--rounds", "1", "--device", "cuda", "--no-processes"]
    with pretended_gpu():
        benchmark.main([*options, "--out", str(tmp_path)])
    found = json.loads((tmp_path / "engine-cuda.json").read_text())
    assert [row["engine"] for row in found["rows"]] == ["baseline", "portable", "portable"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_real_gpu_gives_the_reference_codes(name: str, compile: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if compile:
        monkeypatch.undo()
    net = quantized(name)
    chosen = images(3, side=net.graph.input_shape[-1])
    for moved in (net, with_powers_of_two(net)):
        assert different(all_codes(moved, chosen, nullcontext), expected_codes(moved, chosen)) == []
