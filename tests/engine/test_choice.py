from __future__ import annotations

import pytest
import torch

from landscape.engine import ENGINES, INEXACT, Evaluator, Reference, choose_engine
from landscape.engine import choice as module
from landscape.engine.portable import Portable, compiling
from landscape.errors import UserError
from tests.engine.networks import images, quantized


def missing(device: str) -> module.Found:
    return None, "no such thing here"


def test_auto_takes_the_first_that_is_to_be_had_and_says_why_not_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.ENGINES, "native", missing)
    engine, words = choose_engine("auto")
    assert engine is Portable and words.startswith("engine portable (") and "not native: no such thing here" in words
    monkeypatch.setitem(module.ENGINES, "portable", missing)
    engine, words = choose_engine("auto")
    assert engine is Reference and words.count("no such thing here") == 2


def test_the_fastest_comes_first_and_auto_is_never_inexact() -> None:
    assert list(ENGINES) == ["native", "portable", "reference"] and not set(INEXACT) & set(ENGINES)


def test_an_engine_asked_for_by_name_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_engine("reference")[0] is Reference
    monkeypatch.setitem(module.ENGINES, "native", missing)
    with pytest.raises(UserError, match="engine native is not to be had: no such thing here"):
        choose_engine("native")
    with pytest.raises(UserError, match="unknown engine 'fast'; give auto, native, portable, reference, float32"):
        choose_engine("fast")


def test_devices_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown device 'tpu'; give cpu or cuda"):
        choose_engine("auto", "tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device"):
        choose_engine("auto", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    _, words = choose_engine("auto", "cuda")
    assert words.startswith("engine portable (on cuda") and "not native: runs on the CPU only" in words
    with pytest.raises(UserError, match="engine reference is not to be had: runs on the CPU only"):
        choose_engine("reference", "cuda")


def test_the_portable_engine_says_when_it_does_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    compiling.compiler.cache_clear()
    try:
        assert "eager PyTorch, since there is no C++ compiler" in choose_engine("portable")[1]
        monkeypatch.setenv(compiling.COMPILE_VARIABLE, "0")
        compiling.compiler.cache_clear()
        assert "LANDSCAPE_COMPILE=0" in choose_engine("portable")[1]
    finally:
        compiling.compiler.cache_clear()


def test_the_inexact_engine_is_named_so_and_comes_near_the_exact_logits() -> None:
    engine, words = choose_engine("float32")
    assert "INEXACT" in words
    net = quantized("vit", "w8a8")
    exact, near = (Evaluator(net, images(4), (), e).logits(net) for e in (Reference, engine))
    assert near.dtype == torch.float64
    assert (exact - near).abs().max() < 0.2 * exact.std()


def test_the_inexact_engine_refuses_what_it_does_not_know() -> None:
    net = quantized("vit", softmax="log2")
    with pytest.raises(UserError, match="float LayerNorm and uniform softmax only"):
        choose_engine("float32")[0](net, None)
