from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
import torch

from landscape.engine import Arithmetic, Evaluator, Reference, reference
from landscape.engine.portable import Portable, compiling, target
from landscape.engine.prefix_cache import PrefixCache, mapped
from landscape.engine.values import Codes, Value, as_float
from landscape.errors import UserError
from landscape.quant.network import QuantizedNetwork
from landscape.setup import load_problem
from tests.engine.networks import images, perturbed, quantized

BLOCK = ["blocks.1.attn.qkv.weight", "blocks.1.attn.proj.weight"]
ENGINES = [Reference, Portable]


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled kernels are tested elsewhere."""
    monkeypatch.setattr(compiling, "usable", lambda: False)


def whole(net: QuantizedNetwork, count: int = 5) -> torch.Tensor:
    """Logits of the whole network at once, by the reference."""
    return Evaluator(net, images(count), (), Reference, chunk=count).logits(net)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("chunk", [1, 2, 5, 8])
@pytest.mark.parametrize("cache_bytes", [0, 5000, 1 << 30])
def test_logits_do_not_depend_on_the_chunk_nor_on_where_the_prefix_is_kept(
    engine: Arithmetic, chunk: int, cache_bytes: int
) -> None:
    net = quantized("vit")
    evaluator = Evaluator(net, images(5), BLOCK, engine, chunk, cache_bytes)
    for seed in range(2):
        moved = perturbed(net, BLOCK, seed)
        assert torch.equal(evaluator.logits(moved), whole(moved))
    assert torch.equal(evaluator.logits(net), whole(net))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("vit", ["blocks.1.attn.qkv", "blocks.1.attn.proj"]),
        ("vit", ["blocks.0.mlp.fc1", "head"]),
        ("swin", ["layers.0.blocks.1.attn.qkv"]),
        ("levit", ["stages.0.blocks.0.attn.qkv.linear"]),
        ("cnn", ["middle", "pointwise"]),
    ],
)
def test_candidates_in_one_batch_have_the_logits_that_they_have_alone(
    engine: Arithmetic, name: str, layers: list[str]
) -> None:
    net = quantized(name)
    moving, side = [f"{layer}.weight" for layer in layers], net.graph.input_shape[-1]
    candidates = [*(perturbed(net, moving, seed) for seed in range(3)), net]
    evaluator = Evaluator(net, images(3, side=side), moving, engine, 2)
    alone = evaluator.logits_of(candidates, at_once=1)
    counted: list[int] = []
    together = evaluator.logits_of(candidates, counted.append, at_once=3)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True)) and sum(counted) == 4 * 3
    assert name != "vit" or not torch.equal(alone[0], alone[1])


def test_candidates_that_move_scales_of_activations_are_evaluated_one_by_one() -> None:
    net = quantized("vit")
    names = ["blocks.0.norm1.output"]
    candidates = [perturbed(net, names, seed) for seed in range(2)]
    found = Evaluator(net, images(3), names, Reference, 2).logits_of(candidates, at_once=2)
    assert all(torch.equal(a, whole(b, 3)) for a, b in zip(found, candidates, strict=True))


def test_what_does_not_fit_into_memory_goes_to_a_file() -> None:
    net = quantized("vit")
    in_memory, on_disk = (Evaluator(net, images(5), BLOCK, Reference, 2, size) for size in (1 << 30, 0))
    for evaluator in (in_memory, on_disk):
        evaluator.logits(net)
    assert in_memory.cache.bytes_on_disk == 0 and on_disk.cache.bytes_on_disk > 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "names",
    [["blocks.0.mlp.act.output"], ["input.output"], ["head.weight"], ["patch_embed.proj.weight"], ["cat.output"]],
)
def test_any_scale_may_move(engine: Arithmetic, names: list[str]) -> None:
    net = quantized("vit")
    for cache_bytes in (0, 1 << 30):
        evaluator = Evaluator(net, images(3), names, engine, 2, cache_bytes)
        moved = perturbed(net, names, 0)
        assert torch.equal(evaluator.logits(moved), whole(moved, 3))


@pytest.mark.parametrize("engine", ENGINES)
def test_codes_are_those_of_the_candidate(engine: Arithmetic) -> None:
    net = quantized("vit")
    moved = perturbed(net, ["blocks.0.norm1.output"], 0)
    evaluator = Evaluator(net, images(5), ["blocks.0.norm1.output"], engine, 2)
    (found,) = evaluator.codes(moved, ["blocks.0.norm1"], 3).values()
    (expected,) = Evaluator(moved, images(3), (), Reference, 3).codes(moved, ["blocks.0.norm1"], 3).values()
    assert torch.equal(found, expected) and not torch.equal(
        found, evaluator.codes(net, ["blocks.0.norm1"], 3)["blocks.0.norm1"]
    )


def test_the_cache_gives_back_what_it_was_given() -> None:
    integers = {
        torch.uint8: (0, 255),
        torch.int8: (-128, 127),
        torch.int16: (-2040, 2040),
        torch.int32: (-(2**20), 2**20),
    }
    for size in (0, 1 << 30):
        cache = PrefixCache(size)
        for dtype, (low, high) in integers.items():
            codes = Codes(torch.randint(low, high + 1, (3, 5000)).double(), 0.25)
            codes.integers[0, :2] = torch.tensor([low, high])
            kept = cache.keep({"a": codes, "b": codes.integers})
            assert isinstance(kept["a"], Codes) and kept["a"].integers.dtype == dtype
            assert torch.equal(kept["a"].value(), codes.value())
            assert isinstance(kept["b"], torch.Tensor) and torch.equal(kept["b"], codes.integers)


def test_the_cache_stays_in_memory_up_to_its_limit_only() -> None:
    cache = PrefixCache(40_000)
    value: Value = torch.zeros(40, 100, dtype=torch.float64)  # 32,000 bytes
    cache.keep({"a": value})
    assert cache.bytes_on_disk == 0
    cache.keep({"a": value})
    assert cache.bytes_on_disk >= 32_000


def test_a_full_disk_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(UserError, match=r"No space left.*--cache-gb"):
        PrefixCache(0).keep({"a": torch.zeros(40, 100)})


def test_mapping_reaches_the_tensors_of_every_kind_of_value() -> None:
    net = quantized("vit")
    engine = Portable(net)
    x = engine.input(images(2).normalized(dtype=torch.float64))
    for value in (x, Codes(torch.ones(3), 0.5), torch.ones(3)):
        seen: list[torch.Tensor] = []
        copied = mapped(value, lambda tensor, seen=seen: seen.append(tensor) or tensor.clone())  # type: ignore[misc]
        assert seen and type(copied) is type(value)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_on_disk_however_the_process_ends(tmp_path: Path, number: signal.Signals) -> None:
    program = """
        import torch
        from landscape.engine.prefix_cache import PrefixCache
        cache = PrefixCache(0)
        kept = cache.keep({"a": torch.zeros(100, 1000)})
        print(cache.bytes_on_disk, flush=True)
        import time
        time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
    )
    assert process.stdout is not None and int(process.stdout.readline()) >= 400_000
    process.send_signal(number)
    process.wait(30)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [1, 4])
def test_a_problem_gives_points_to_the_engine_together_and_values_do_not_show_it(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = load_problem(block=7, images=6, calib_images=4, engine="portable")
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, problem.space.dimension, generator=generator, dtype=torch.float64)
    points = problem.centre * torch.exp(0.05 * noise)
    alone = problem.evaluate(points)
    monkeypatch.setattr(Portable, "candidates_at_once", 3)
    together: list[int] = []
    found = problem.evaluate(points[:count], together.append)
    assert sum(together) == 6 * count
    for expected, actual in zip(alone, found, strict=False):
        assert actual.values == expected.values
        assert all((actual.per_image[name] == losses).all() for name, losses in expected.per_image.items())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("name", "moved"),
    [
        ("vit", "blocks.1.attn.qkv.weight"),
        ("vit", "blocks.1.mlp.act.output"),
        ("swin", "layers.0.blocks.1.attn.qkv.weight"),
        ("cnn", "middle.weight"),
    ],
)
def test_the_insides_of_chosen_images_do_not_depend_on_the_others(engine: Arithmetic, name: str, moved: str) -> None:
    net = quantized(name)
    evaluator = Evaluator(net, images(7), [moved], engine, chunk=3)
    keep = {node for node in evaluator.changing if node in net.activations}
    everything = evaluator.passes(net, keep)
    rows, values = zip(*everything, strict=True)
    assert [row for part in rows for row in part] == list(range(7))
    chosen = {1, 3, 4, 6}
    found = list(evaluator.passes(net, keep, chosen))
    assert [row for part, _ in found for row in part] == sorted(chosen)
    by_image = {n for n in found[0][1] if net.graph[n].shape[:1] == (-1,)}
    assert keep <= by_image and net.graph.output in by_image
    for node in by_image:
        whole = torch.cat([as_float(part[node]).reshape(len(r), -1) for r, part in zip(rows, values, strict=True)])
        some = torch.cat([as_float(part[node]).reshape(len(r), -1) for r, part in found])
        assert torch.equal(some, whole[sorted(chosen)])


@pytest.mark.parametrize("engine", ENGINES)
def test_many_candidates_leave_no_more_behind_than_some(engine: Arithmetic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scales of activations move, so each candidate has softmax tables and kernels' parameters of its own."""
    monkeypatch.setattr(reference, "_MOST_TABLES", 6)
    monkeypatch.setattr(target, "_MOST_PREPARED", 5)
    net = quantized("vit")
    names = [name for name in net.scale_names() if name.endswith("output")][::2]
    evaluator = Evaluator(net, images(2), names, engine, 2)
    for seed in range(12):
        moved = perturbed(net, names, seed)
        found, expected = evaluator.logits(moved), Evaluator(moved, images(2), (), Reference).logits(moved)
        assert torch.equal(found, expected)
    assert len(evaluator.centre._softmax_tables) <= 6
    if isinstance(evaluator.centre, Portable):
        held = [len(to.prepared) for to in evaluator.centre._targets.values()]
        assert max(held) == 5
