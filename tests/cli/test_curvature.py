"""``landscape curvature`` and ``landscape reliability``: what is refused before the work, and what survives it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from landscape.cli import main
from landscape.curvature import Curvature, CurvatureReport, Density

NAN = float("nan")
FOUND = Curvature(
    "surrogate", "scales", "ggn", "infonce", ("layer",), 3, 5, (2.5,), (0.5,), (0.0,), (0.0,), NAN, NAN,
    Density((0.0,), (1.0,), 1.0, (0.0,), (1.0,)), 40, 1.0,
)  # fmt: skip


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.count("\n") == 1
    return text


@pytest.mark.parametrize("command", ["curvature", "reliability"])
def test_a_record_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(f"landscape.cli.{command}.gather", lambda *_: pytest.fail("the work started"))
    assert "is a folder" in refusal(capsys, command, "--out", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert "is read-only" in refusal(capsys, command, "--out", str(tmp_path / "x.json"))


def test_the_table_is_printed_where_the_record_cannot_be_written_and_what_was_not_measured_is_a_dash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def study(*_: object) -> CurvatureReport:
        (tmp_path / "record").mkdir()  # in the way
        return CurvatureReport({}, (FOUND,), ())

    monkeypatch.setattr("landscape.cli.curvature.curvature_study", study)
    monkeypatch.setattr("landscape.cli.curvature.gather", lambda *_: SimpleNamespace(images=[]))
    monkeypatch.setattr("landscape.cli.curvature.build", lambda *_, **__: None)
    assert main(["curvature", "--out", str(tmp_path / "record")]) == 2
    written = capsys.readouterr()
    assert written.out.splitlines()[1].split()[-5:] == ["2.5", "0.5", "-", "-", "3"]
    assert f"error: cannot write {tmp_path / 'record'}: Is a directory" in written.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--probes", "0"], "--probes 0 is not possible"),
        (["--steps", "2", "--eigenvalues", "5"], "--steps 2 cannot give 5 eigenvalues from each end; give --steps 10"),
        (["--smallest", "0.3", "--largest", "0.1", "--lines", "0"], "--smallest 0.3 is above --largest 0.1"),
        (["--level", "1.5"], "--level 1.5 is not possible; R^2 is at most 1"),
    ],
)
def test_options_that_cannot_be_are_named_with_their_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.setattr("landscape.cli.curvature.gather", lambda *_: pytest.fail("the work started"))
    assert words in refusal(capsys, "curvature", *arguments)
