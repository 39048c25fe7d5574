from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from landscape.engine import Evaluator, Reference
from landscape.engine.portable import Portable, compiling, engine, float64, layers, operations, products
from landscape.engine.portable.activations import FAST
from landscape.engine.portable.device import on_device
from landscape.engine.portable.products import FLOAT, SIGNED, UNSIGNED, fastest, multiply, pack
from landscape.engine.portable.target import target
from landscape.engine.portable.values import Bytes, Pending
from landscape.engine.values import Codes, Value, as_float, masked, rows_of
from landscape.images import ImageSet
from landscape.quant.elementwise import activation_function
from landscape.quant.network import ActivationQuantizer
from landscape.quant.softmax import softmax_table
from tests.engine.networks import (
    NETWORKS,
    assert_same_codes,
    images,
    left_to_reference,
    perturbed,
    quantized,
    values,
    with_powers_of_two,
)


@pytest.fixture(params=["eager", pytest.param("compiled", marks=pytest.mark.slow)], autouse=True)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything holds with and without a compiler; compiling takes long where nothing is in inductor's cache."""
    if request.param == "eager":
        monkeypatch.setattr(compiling, "usable", lambda: False)
    return str(request.param)


@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w3a8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_codes_equal_the_reference_for_every_family(name: str, bits: str) -> None:
    net = quantized(name, bits)
    assert_same_codes(net, Portable(net))


def test_compiled_kernels_give_the_same_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one quick test of compiled kernels; ties make rows doubtful, which are settled in float64."""
    monkeypatch.undo()
    assert compiling.usable() or not compiling.compiler()[0]
    net = quantized("vit")
    for moved in (net, with_powers_of_two(net)):
        assert_same_codes(moved, Portable(moved))


@pytest.mark.parametrize("bits", ["w8a8", "w4a8"])
def test_codes_equal_the_reference_with_squeeze_and_excite(bits: str) -> None:
    net = quantized("mobilenetv3", bits)
    assert_same_codes(net, Portable(net))


@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w3a8"])
@pytest.mark.parametrize("correction", ["none", "weight", "output"])
def test_codes_equal_the_reference_in_convolutions_by_groups(bits: str, correction: str) -> None:
    net = quantized("groups", bits, bias_correction=correction)
    for moved in (net, with_powers_of_two(net)):
        assert_same_codes(moved, Portable(moved))


@pytest.mark.parametrize("name", ["vit", "cnn"])
def test_values_exactly_between_two_codes_round_as_in_the_reference(name: str) -> None:
    net = with_powers_of_two(quantized(name))
    assert_same_codes(net, Portable(net))


@pytest.mark.parametrize(
    "options",
    [
        {"residual": "tensor"},
        {"layer_norm": "integer"},
        {"softmax": "log2"},
        {"bias_correction": "none"},
        {"bias_correction": "output"},
        {"activation_observer": "percentile", "weight_observer": "minmax"},
    ],
)
def test_codes_equal_the_reference_in_other_schemes(options: dict[str, str]) -> None:
    net = quantized("vit", **options)
    assert_same_codes(net, Portable(net))


@pytest.mark.parametrize("factor", [0.02, 1.0, 8.0])
@pytest.mark.parametrize("name", ["vit", "swin"])
def test_integer_layer_norm_gives_the_reference_codes(name: str, factor: float) -> None:
    """At scales of all sizes: factors of LayerNorm saturate, or shrink to few bits."""
    net = quantized(name, "w8a8", layer_norm="integer")
    net = net.with_scales({n: net.scale(n) * factor for n in net.scale_names() if n.endswith("output")})
    for moved in (net, with_powers_of_two(net)):
        assert_same_codes(moved, Portable(moved))


@pytest.mark.parametrize("bits", ["w4a8s4", "w8a8s3", "w3a8s2", "w4a8s5"])
@pytest.mark.parametrize("way", [UNSIGNED, SIGNED, FLOAT])
def test_log_int_softmax_gives_the_reference_codes(way: str, bits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landscape.engine.portable.engine.fastest", lambda device, wide=True: way)
    net = quantized("vit", bits, softmax="log2")
    for moved in (net, with_powers_of_two(net), perturbed(net, net.scale_names(), seed=1, size=0.5)):
        assert_same_codes(moved, Portable(moved))


@pytest.mark.parametrize("bits", ["w2a3", "w4a8s4", "w4a32", "w32a8"])
def test_codes_equal_the_reference_at_unusual_bit_widths(bits: str) -> None:
    net = quantized("vit", bits)
    batch = images(2).normalized(dtype=torch.float64)
    if "32" not in bits:
        assert_same_codes(net, Portable(net))
    expected, actual = (Evaluator(net, images(2), (), engine).logits(net) for engine in (Reference, Portable))
    assert len(batch) == 2 and torch.equal(expected, actual)


def test_codes_equal_the_reference_with_exact_input() -> None:
    for name in ("vit", "cnn"):
        net = quantized(name, exact_input=True)
        assert_same_codes(net, Portable(net))


@pytest.mark.parametrize("way", [UNSIGNED, SIGNED, FLOAT])
def test_every_kind_of_product_gives_the_same_codes(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landscape.engine.portable.engine.fastest", lambda device, wide=True: way)
    for bits in ("w8a8", "w4a8"):
        net = quantized("vit", bits)
        assert_same_codes(net, Portable(net))


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("threads", [1, 2])
def test_batch_and_threads_change_no_code(count: int, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_same_codes(quantized("vit"), Portable(quantized("vit")), count)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("seed", range(5))
def test_a_sibling_gives_the_codes_of_its_own_scales(seed: int) -> None:
    net = quantized("vit")
    centre = Portable(net)
    assert_same_codes(net, centre, count=1)
    for names in (["blocks.1.attn.qkv.weight"], ["blocks.0.mlp.act.output", "head.weight"], net.scale_names()):
        moved = perturbed(net, names, seed)
        assert_same_codes(moved, Portable(moved, centre), count=1)


def test_extreme_scales_and_zero_points_clamp_like_the_reference() -> None:
    net = quantized("vit", "w8a8")
    for factor in (1e-3, 1e3):
        scaled = {n: net.scale(n) * factor for n in net.scale_names() if n.endswith("output")}
        moved = net.with_scales(scaled)
        assert_same_codes(moved, Portable(moved), count=2)
    for end in (0, 255):
        weights = {
            k: dataclasses.replace(q, zero_point=torch.full_like(q.zero_point, end)) for k, q in net.weights.items()
        }
        activations = {
            k: dataclasses.replace(q, zero_point=torch.full_like(q.zero_point, end)) for k, q in net.activations.items()
        }
        moved = dataclasses.replace(net, weights=weights, activations=activations)
        assert_same_codes(moved, Portable(moved), count=2)


def test_a_network_moved_to_a_device_shares_what_a_sibling_has_moved() -> None:
    """The path that a GPU takes, as far as a machine without one can go: everything is moved, to the CPU."""
    net = quantized("swin")
    moved = on_device(net, "cpu")
    candidate = perturbed(net, ["layers.0.blocks.0.attn.qkv.weight"], seed=0)
    moved_candidate = on_device(candidate, "cpu", (net, moved))
    changed = [k for k in net.weights if moved_candidate.weights[k] is not moved.weights[k]]
    assert changed == ["layers.0.blocks.0.attn.qkv"] and moved_candidate.graph is moved.graph
    assert_same_codes(candidate, Portable(moved_candidate, Portable(moved)), count=2)


def test_a_failing_compiler_is_told_and_changes_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(kernel: object, **options: object) -> object:
        def fail(*arguments: object) -> None:
            raise RuntimeError("no such compiler")

        return fail

    monkeypatch.undo()
    monkeypatch.setattr(compiling, "_failures", [])
    monkeypatch.setattr(compiling, "compiler", lambda: (True, ""))
    monkeypatch.setattr(torch, "compile", broken)
    kernel = compiling.compiled(float64.requantized)
    with pytest.warns(RuntimeWarning, match="no such compiler"):
        assert kernel(torch.zeros(1)) is None
    assert not compiling.usable()


@pytest.mark.parametrize("way", [UNSIGNED, SIGNED, FLOAT])
def test_packed_products_are_the_integer_products(way: str) -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 256, (5, 37), generator=generator, dtype=torch.uint8)
    for low, high in ((-128, 128), (-255, 1), (0, 256), (-7, 9)):
        integers = torch.randint(low, high, (11, 37), generator=generator).double()
        weight = pack(integers, way)
        sums = multiply(codes, weight).double()
        row_sums = sums[:, 11:12]
        restored = sums[:, :11] + weight.code_shift * weight.sums
        if weight.shift is not None:
            restored = restored + row_sums * weight.shift
        assert torch.equal(restored, codes.double() @ integers.T)
        assert torch.equal(row_sums[:, 0], (codes.double() - weight.code_shift).sum(1))


@pytest.mark.parametrize("wide", [True, False])
def test_a_way_to_multiply_is_found(wide: bool) -> None:
    assert fastest("cpu", wide) in (UNSIGNED, SIGNED, FLOAT)


def test_a_way_whose_products_saturate_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def saturating(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Pairs of products added in int16, as x86 does without VNNI."""
        products = a.double()[:, :, None] * b.double()[None]
        return out.copy_(products.unflatten(1, (-1, 2)).sum(2).clamp(-(2**15), 2**15 - 1).sum(1))

    monkeypatch.setattr(torch, "_int_mm", saturating)
    monkeypatch.setattr(products, "_measured", lambda codes, weight: float(weight.way == FLOAT))
    assert fastest.__wrapped__("cpu", True) == FLOAT
    assert fastest.__wrapped__("cpu", False) == UNSIGNED


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="a limit of oneDNN's kernels for x86")
def test_codes_on_a_processor_without_vnni(mode: str) -> None:
    if mode == "compiled":
        pytest.skip("the products are not compiled")
    code = """
        from landscape.engine.portable import Portable
        from tests.engine.networks import assert_same_codes, quantized

        for bits in ("w8a8", "w4a8"):
            net = quantized("vit", bits)
            assert_same_codes(net, Portable(net))
    """
    variables = {"ONEDNN_MAX_CPU_ISA": "AVX2", compiling.COMPILE_VARIABLE: "0"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    subprocess.run(command, cwd=Path(__file__).parents[2], env={**os.environ, **variables}, check=True)


@pytest.mark.parametrize("name", FAST)
def test_fast_activations_stay_within_their_error_bound(name: str, mode: str) -> None:
    half = np.concatenate([np.linspace(-12, 12, 2_000_001), np.geomspace(1e-30, 1e4, 20_001)]).astype(np.float32)
    points = np.concatenate([half, -half]).astype(np.float64)
    exact = activation_function(name).function(points)
    function = FAST[name].function if mode == "eager" else torch.compile(FAST[name].function, dynamic=True)
    for number, bound in ((torch.float32, FAST[name].error), (torch.float64, FAST[name].error64)):
        error = np.abs(function(torch.from_numpy(points).to(number)).double().numpy() - exact)
        assert (error <= bound * np.abs(points) + 1e-30).all()


def test_depthwise_convolutions_go_on_when_the_compiler_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the layer at which it fails: until then the engine counts on kernels."""
    net = quantized("mobilenet")
    monkeypatch.setattr(compiling, "usable", lambda: True)
    monkeypatch.setattr(layers, "_depthwise", lambda *_: None)
    assert_same_codes(net, Portable(net))


def test_logits_whose_scale_leaves_masked_terms_are_left_to_the_reference() -> None:
    """At a scale so small the largest distance that the kernel tells apart is no infinite one."""
    logits = Codes(torch.tensor([[0, -70_000]], dtype=torch.int32), 1e-4)
    to = target(ActivationQuantizer(8, torch.tensor(0.005, dtype=torch.float64), torch.tensor(0.0).double()))
    assert operations.softmax(logits, softmax_table(1e-4, "uniform"), to) is None


def test_sums_of_images_that_lie_differently_in_memory() -> None:
    """Channels last and channels first; values for all images, with and without an axis for them; factors."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(0, 256, (2, 5, 4, 6), generator=generator, dtype=torch.uint8).permute(0, 3, 1, 2)
    to = target(ActivationQuantizer(8, torch.tensor(0.03, dtype=torch.float64), torch.tensor(7.0).double()))
    for shape in ((2, 6, 5, 4), (1, 6, 5, 4), (6, 5, 4)):
        second = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        for a in (first, first.contiguous()):
            codes = operations.total(Bytes(a, 3, 0.011), Bytes(second, 250, 0.017), to)
            value = (a.double() - 3.0) * 0.011 + (second.double() - 250.0) * 0.017
            assert codes is not None
            assert torch.equal(codes.double(), (value / 0.03 + 7.0).round().clamp(0, 255))


@pytest.mark.parametrize("layout", ["channels last", "channels first"])
@pytest.mark.parametrize("gate", [(2, 6, 1, 1), (2, 6, 5, 4)])
def test_products_element_by_element(layout: str, gate: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(0, 256, (2, 5, 4, 6), generator=generator, dtype=torch.uint8).permute(0, 3, 1, 2)
    a = a if layout == "channels last" else a.contiguous()
    b = torch.randint(0, 256, gate, generator=generator, dtype=torch.uint8)
    to = target(ActivationQuantizer(8, torch.tensor(1 / 64, dtype=torch.float64), torch.tensor(90.0).double()))
    codes = operations.gated(Bytes(a, 3, 1 / 64), Bytes(b, 140, 1 / 128), to)
    exact = (a.long() - 3) * (b.long() - 140)  # in units of 1 / 128 of the output's scale: ties are integers here too
    nearest = torch.div(exact, 128, rounding_mode="floor")
    rest = exact - 128 * nearest
    up = (rest > 64) | ((rest == 64) & (nearest % 2 == 1))
    assert (rest == 64).any()
    assert codes is not None
    assert torch.equal(codes.long(), (nearest + up + 90).clamp(0, 255))


def test_a_sum_put_off_can_be_taken_apart_and_stands_for_its_value() -> None:
    """As the evaluator does with values of some images; the clamp behind it gives the same codes either way."""
    net = quantized("resnet")
    engine, chosen = Portable(net), images(3, seed=3)
    found = dict((node.name, value) for node, value in values(engine, chosen.normalized(dtype=torch.float64)))
    exact = dict((node.name, value) for node, value in values(Reference(net), chosen.normalized(dtype=torch.float64)))
    for name, clamp in (("residual", "relu_3"), ("residual_2", "relu_5"), ("residual_3", "relu_7")):
        value = found[name]
        assert isinstance(value, Pending) and value.y is not None
        some = rows_of(value, [2, 0], 3, 0)
        assert torch.equal(as_float(some), as_float(exact[name])[[2, 0]])
        codes = engine.evaluate(net.graph[clamp], [some], 2)
        assert torch.equal(as_float(codes), as_float(exact[clamp])[[2, 0]])


@pytest.mark.parametrize("bits", ["w8a8", "w4a8"])
def test_activation_functions_behind_products(bits: str) -> None:
    net = quantized("products", bits)
    for moved in (net, with_powers_of_two(net)):
        assert_same_codes(moved, Portable(moved))


def test_a_product_put_off_can_be_taken_apart_and_stands_for_its_value() -> None:
    net = quantized("levit")
    engine, chosen = Portable(net), images(3, seed=3, side=64).normalized(dtype=torch.float64)
    found = {node.name: value for node, value in values(engine, chosen)}
    exact = {node.name: value for node, value in values(Reference(net), chosen)}
    products_before = [n for n in net.graph if n.op == "unary" and net.graph[n.inputs[0]].op == "matmul"]
    assert len(products_before) == 3
    for node in products_before:
        some = rows_of(found[node.inputs[0]], [2, 0], 3, 0)
        assert isinstance(some, Pending)
        assert torch.equal(as_float(some), as_float(exact[node.inputs[0]])[[2, 0]])
        assert torch.equal(as_float(engine.evaluate(node, [some], 2)), as_float(exact[node.name])[[2, 0]])


@pytest.mark.parametrize("name", ["swin", "convnext", "levit", "resnet", "mobilenetv3", "groups"])
def test_few_nodes_are_left_to_the_reference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {"add", "layer_norm"} if name == "convnext" else set[str]()
    net = quantized(name)
    assert left_to_reference(net, Portable(net), monkeypatch) == expected


def test_the_released_scheme_leaves_nothing_to_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    net = quantized("vit", "w4a8s4", layer_norm="integer", softmax="log2", bias_correction="none")
    assert left_to_reference(net, Portable(net), monkeypatch) == {"expand"}


def test_memory_of_sums_can_be_used_in_and_outside_inference_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_kept", threading.local())
    codes, weight = torch.full((20, 8), 3, dtype=torch.uint8), pack(torch.full((5, 8), 2.0).double(), UNSIGNED)
    with torch.inference_mode():
        multiply(codes, weight)
    first, second = multiply(codes, weight), multiply(codes[:17] + 1, weight)
    assert second[:, :5].tolist() == [[64] * 5] * 17
    assert first.data_ptr() == second.data_ptr()


@pytest.mark.parametrize("least", [-100.0, -1e9, -float("inf")])
def test_masks_that_fit_into_no_integer_are_left_to_the_reference(least: float) -> None:
    logits, mask = Bytes(torch.tensor([[7, 250]], dtype=torch.uint8), 3, 0.25), torch.tensor([[0.0, least]]).double()
    found = masked(logits, mask)
    assert (found is None) == (least < -100.0)
    assert found is None or found.integers.tolist() == [[4, -153]]


@pytest.mark.parametrize("asked", [1, 32])
@pytest.mark.parametrize(("compiled", "expected"), [(True, 64), (False, 8)])
def test_how_many_images_are_evaluated_at_once(
    monkeypatch: pytest.MonkeyPatch, compiled: bool, expected: int, asked: int
) -> None:
    """As many as suit the engine; few without a compiler."""
    monkeypatch.setattr(engine, "usable", lambda: compiled)
    seen: list[slice] = []

    class Watched(Portable):
        def pixels(self, images: ImageSet, chosen: slice) -> Value:
            seen.append(chosen)
            return super().pixels(images, chosen)

    net = quantized("vit")
    Evaluator(net, images(70), (), Watched, asked).logits(net)
    assert seen[0] == slice(0, expected) and seen[-1].stop == 70
