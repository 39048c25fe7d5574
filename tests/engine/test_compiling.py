from __future__ import annotations

from collections.abc import Iterator

import pytest

from landscape.engine import choose_engine
from landscape.engine.portable import compiling
from landscape.errors import UserError


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    compiling.compiler.cache_clear()
    yield
    compiling.compiler.cache_clear()


@pytest.mark.parametrize("value", ["banana", "false", "2"])
def test_whether_to_compile_is_0_or_1_and_nothing_else(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(compiling.COMPILE_VARIABLE, value)
    with pytest.raises(UserError, match=f"LANDSCAPE_COMPILE={value} is neither 0 nor 1"):
        choose_engine("portable")


def test_compiling_is_the_default_and_0_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    for value, compiles in (("", True), ("1", True), ("0", False)):
        monkeypatch.setenv(compiling.COMPILE_VARIABLE, value)
        compiling.compiler.cache_clear()
        assert compiling.compiler()[0] == compiles
