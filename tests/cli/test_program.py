"""The program around the command line: Ctrl-C while it starts and while it ends."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import landscape_program

SLOW = """
import atexit, time
def leave():
    print("leaving", flush=True)
    time.sleep(0.2)
atexit.register(leave)
print("importing", flush=True)
time.sleep(30)
"""


def test_ctrl_c_while_the_program_starts_or_ends_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "landscape.py").write_text(SLOW)  # in place of the package
    code = "import sys; from landscape_program import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(Path(landscape_program.__file__).parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for moment in ("importing", "leaving"):
        assert process.stdout.readline().strip() == moment
        process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[1] == "\ninterrupted; nothing was stored\n"
    assert process.returncode == 130


def test_the_package_runs_as_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landscape_program, "main", lambda: 7)
    with pytest.raises(SystemExit, match="7"):
        runpy.run_module("landscape", run_name="__main__")


def test_a_second_ctrl_c_does_not_break_what_the_first_one_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landscape_program, "_interrupts", [])
    with pytest.raises(KeyboardInterrupt):
        landscape_program._interrupt()
    landscape_program._interrupt()
    landscape_program._interrupts[-1] -= 2  # seconds later it counts again
    with pytest.raises(KeyboardInterrupt):
        landscape_program._interrupt()
