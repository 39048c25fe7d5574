"""AMX: its instructions emulated, and its machine code carried out by a handler where the processor refuses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape.engine import Reference
from landscape.engine.native import Native, build, native_available
from landscape.engine.native.build import EMULATED, INSTRUCTION_SETS, ISA_VARIABLE, NativeUnavailable, instruction_sets
from landscape.engine.native.processor import processor_flags, tiles_denied
from landscape.engine.values import as_float
from landscape.quant.network import QuantizedNetwork
from tests.engine.native_probe import compile_to, expected_products, operands, probe, products
from tests.engine.networks import SIDE, images, perturbed, quantized, with_powers_of_two

_AVAILABLE, _WHY = native_available()
pytestmark = pytest.mark.skipif(not _AVAILABLE, reason=f"no native engine: {_WHY}")

BASE = set(INSTRUCTION_SETS["amx"][0]) - {"amx_tile", "amx_int8"}
traps = pytest.mark.skipif(
    "amx_tile" in processor_flags() or not processor_flags() >= BASE,
    reason="the processor has AMX, or lacks what the kernels for AMX need besides",
)


def assert_logits_and_codes_of_the_reference(net: QuantizedNetwork, count: int) -> None:
    batch, nodes = images(count, seed=3, side=SIDE).normalized(dtype=torch.float64), list(net.graph)
    reference, native = Reference(net), Native(net)
    expected = {"input": reference.input(batch)}
    for node in nodes[1:]:
        expected[node.name] = reference.evaluate(node, [expected[name] for name in node.inputs], count)
    kept = [name for name in net.activations if name.endswith((".residual", "norm1", ".proj", ".act"))]
    for keep in [{net.graph.output}, {net.graph.output, *kept}]:
        found = native.run_nodes(nodes, {"input": native.input(batch)}, keep, count)
        for name, value in found.items():
            assert torch.equal(as_float(expected[name]), as_float(value)), name


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 70), outputs=st.integers(1, 150), depth=st.integers(1, 400),
    gap=st.integers(0, 70),
)  # fmt: skip
@pytest.mark.parametrize("instruction_set", [EMULATED, *(name for name in instruction_sets()[:1])])
def test_products_of_any_shape_are_exact_and_read_no_byte_too_many(
    instruction_set: str, seed: int, rows: int, outputs: int, depth: int, gap: int
) -> None:
    a, w, init = operands(seed, rows, outputs, depth, depth + gap)
    assert (products(probe(instruction_set), a, depth, w, init) == expected_products(a, depth, w, init)).all()


@pytest.mark.parametrize("depth", [1, 4, 60, 63, 64, 65, 124, 128, 129, 192, 197, 255, 256, 3072])
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 31, 32, 33])
def test_products_at_the_edges_of_tiles_are_exact(rows: int, depth: int) -> None:
    for outputs in (1, 16, 17, 32, 48, 64, 80):
        a, w, init = operands(depth, rows, outputs, depth, depth)
        assert (products(probe(EMULATED), a, depth, w, init) == expected_products(a, depth, w, init)).all()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("ties", [False, True])
def test_a_transformer_in_emulated_tiles_has_the_reference_codes(
    monkeypatch: pytest.MonkeyPatch, threads: int, ties: bool
) -> None:
    """26 tokens, 60 channels, heads of 20: no size is a multiple of a tile's."""
    monkeypatch.setenv(ISA_VARIABLE, EMULATED)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        net = quantized("vit", "w8a8" if ties else "w4a8")
        assert_logits_and_codes_of_the_reference(with_powers_of_two(net) if ties else net, 5)
        moved = perturbed(net, ["blocks.0.attn.qkv.weight", "blocks.1.mlp.fc2.weight"], seed=threads)
        assert_logits_and_codes_of_the_reference(moved, 4)
    finally:
        torch.set_num_threads(before)


def test_convolutions_in_emulated_tiles_have_the_reference_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ISA_VARIABLE, EMULATED)
    assert_logits_and_codes_of_the_reference(quantized("cnn"), 2)


UNDER_TRAP = """
import ctypes, sys
from landscape.engine.native import build, processor
found = processor.processor_flags() | {"amx_tile", "amx_int8"}
build.processor_flags, build.tiles_denied = lambda: found, lambda: None
assert build.usable_instruction_set() == ("amx", ()), build.usable_instruction_set()
from tests.engine.native_probe import expected_products, operands, products
from tests.engine.networks import quantized
from tests.engine.test_native_amx import assert_logits_and_codes_of_the_reference
library = ctypes.CDLL(sys.argv[1])
for rows, outputs, depth in ((1, 1, 1), (5, 17, 60), (16, 32, 64), (17, 33, 65), (33, 70, 197), (40, 64, 192)):
    a, w, init = operands(rows, rows, outputs, depth, depth + 3)
    assert (products(library, a, depth, w, init) == expected_products(a, depth, w, init)).all()
assert_logits_and_codes_of_the_reference(quantized("vit"), 2)
trapped = ctypes.CDLL(None).trapped
trapped.restype = ctypes.c_int64
print(trapped())
"""


@traps
def test_the_machine_code_for_amx_gives_the_reference_codes_when_its_instructions_are_carried_out_for_it(
    tmp_path: Path,
) -> None:
    try:
        library = compile_to(tmp_path, "products_probe.cpp", build.compiler_flags("amx"))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the compiler does not know AMX: {error.stderr.decode()[:200]}")
    trap = compile_to(tmp_path, "amx_trap.cpp", ["-std=c++17", "-O2", "-fPIC", "-shared"])
    environment = {name: value for name, value in os.environ.items() if name != ISA_VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", UNDER_TRAP, str(library)], capture_output=True, text=True, check=False,
        env={**environment, "LD_PRELOAD": str(trap)}, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5_000


@traps
def test_kernels_whose_instructions_the_processor_refuses_are_passed_over_with_the_reason() -> None:
    with pytest.raises(NativeUnavailable, match=r"an instruction that this processor refuses|unrecognized"):
        build.load("amx")


def test_what_the_processor_lacks_for_amx_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "processor_flags", lambda: frozenset({*BASE, "amx_tile"}))
    assert build.why_not("amx") == "not amx: this processor has no amx_int8"
    monkeypatch.setattr(build, "processor_flags", frozenset)
    assert build.instruction_sets() == ["generic"]


def test_amx_is_passed_over_where_the_system_denies_its_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "processor_flags", lambda: frozenset(INSTRUCTION_SETS["amx"][0]))
    monkeypatch.setattr(build, "tiles_denied", lambda: "the system says no")
    monkeypatch.setattr(build, "load", lambda name: name)
    assert build.usable_instruction_set.__wrapped__() == ("avx512", ("not amx: the system says no",))
    monkeypatch.setattr(build, "tiles_denied", lambda: None)
    assert build.usable_instruction_set.__wrapped__() == ("amx", ())


@traps
def test_the_system_denies_tiles_that_the_processor_does_not_have() -> None:
    assert "does not permit its tiles: " in str(tiles_denied())


def test_a_compiler_that_does_not_know_amx_is_passed_over_with_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "old-compiler"
    compiler.write_text("#!/bin/sh\necho \"old-compiler: error: unrecognized option '-mamx-tile'\" >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(NativeUnavailable, match="failed: old-compiler: error: unrecognized option '-mamx-tile'"):
        build.load.__wrapped__("amx")


def test_emulation_is_never_chosen_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ISA_VARIABLE, raising=False)
    assert EMULATED not in instruction_sets() and build.chosen_instruction_set() in instruction_sets()
