"""The application: options from dataclasses, errors in one line, commands of other packages."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import IO, Any

import pytest
import typer

from landscape.cli import app as application
from landscape.cli import main
from landscape.cli.options import attribute_help, takes_options
from landscape.errors import UserError
from landscape.setup import ProblemOptions


@dataclass(frozen=True)
class Colours:
    """Options of a test.

    Attributes:
        red_light: How much red,
            and how bright.
        seed: Of the draw.
        mean: Per channel.
    """

    red_light: int = 3
    seed: int = 0
    mean: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Draw:
    """More options.

    Attributes:
        seed: Not shown: the first group says it.
        name: Of it.
    """

    seed: int = 0
    name: str | None = None


def run_options(*arguments: str, **defaults: Any) -> list[Any]:
    seen: list[Any] = []

    def command(colours: Colours, draw: Draw) -> None:
        seen.extend([colours, draw])

    command.__annotations__ = {"colours": Colours, "draw": Draw}
    app = typer.Typer()
    app.command()(takes_options(command, defaults))
    app(args=list(arguments), standalone_mode=False)
    return seen


def test_fields_become_options_and_a_shared_field_reaches_both_dataclasses() -> None:
    assert run_options("--red-light", "5", "--seed", "7", "--name", "x") == [Colours(5, 7), Draw(7, "x")]


def test_a_command_may_have_defaults_of_its_own() -> None:
    assert run_options(red_light=9) == [Colours(9), Draw()]


def test_tuples_are_numbers_with_commas() -> None:
    assert run_options("--mean", "0.5, 0.25")[0].mean == (0.5, 0.25)
    with pytest.raises(UserError, match="--mean 'grey' is not a list of numbers"):
        run_options("--mean", "grey")


def test_help_is_what_the_docstring_says() -> None:
    assert attribute_help(Colours)["red_light"] == "How much red, and how bright."


def test_every_option_of_a_problem_has_words_of_help() -> None:
    texts = attribute_help(ProblemOptions)
    assert all(len(texts.get(name, "")) > 5 for name in ProblemOptions.__dataclass_fields__)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scna"], "No such command 'scna'. Did you mean 'scan'?"),
        (["scan", "--bloc", "5"], "No such option: --bloc"),
        (["scan", "--points", "many"], "Invalid value for '--points'"),
        (["show"], "Missing argument"),
    ],
)
def test_a_typing_mistake_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("error: ") and written.err.count("\n") == 1
    assert message in written.err


def test_help_lists_the_commands_and_succeeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "scan" in text and "show" in text and "table" in text and "models" in text
    assert main(["--version"]) == 0


def test_ctrl_c_is_told_in_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("landscape.cli.models.list_models", interrupted)
    assert main(["models"]) == 130
    assert capsys.readouterr().err == "\ninterrupted; nothing was stored\n"  # and so no advice to resume it


def test_a_tilde_is_the_home_folder_and_an_empty_out_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run_options("--name=~/x")[1].name == f"{tmp_path}/x"
    assert main(["show", "~/run"]) == 2
    assert f"there is no run in {tmp_path}/run" in capsys.readouterr().err
    for command in (["scan"], ["plot", "run"], ["report", "run"]):
        assert main([*command, "--out", ""]) == 2
        assert capsys.readouterr().err == "error: --out is empty; give a name\n"


def broken_pipe() -> IO[str]:
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w")


def full_disk() -> IO[str]:
    return open("/dev/full", "w", buffering=1)


@pytest.mark.parametrize("arguments", [["engines"], ["--help"]])
def test_output_that_nobody_can_read_is_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # what Python makes of >&-
    assert main(arguments) == 0
    with broken_pipe() as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(arguments) == 0
    assert capsys.readouterr().err == ""
    with full_disk() as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(arguments) == 2
    assert capsys.readouterr().err == "error: cannot write the output: No space left on device; send it elsewhere\n"


def test_messages_that_nobody_can_read_stop_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["scna"]) == 2
    assert capsys.readouterr().out == ""
    for stream in (broken_pipe(), full_disk()):
        with stream:  # closing fails where something is left to write
            monkeypatch.setattr(sys, "stderr", stream)
            assert main(["scna"]) == 2


def test_a_broken_command_of_another_package_harms_no_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = EntryPoint("tumble", "no_such_package:command", "landscape.commands")
    monkeypatch.setattr(application, "entry_points", lambda group: [broken])
    assert main(["models"]) == 0
    assert main(["tumble"]) == 2
    assert "the command tumble of no_such_package:command cannot be imported" in capsys.readouterr().err
