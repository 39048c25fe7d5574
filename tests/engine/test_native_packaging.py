"""The native engine as a user meets it: without a compiler, and from a wheel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from landscape.cli import main
from landscape.engine import Evaluator, Reference, choose_engine
from landscape.engine.native import build
from landscape.engine.portable import Portable, compiling
from landscape.setup import load_problem

ROOT = Path(__file__).parents[2]
PACKAGED = (".py", ".cpp", ".h", ".json", ".safetensors", ".html", ".css", ".js", ".typed")


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine without a C++ compiler, whatever has been found or compiled before."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv(build.ISA_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "ziglang", None)  # as if it could not be found
    found = (build.usable_instruction_set, build.load, compiling.compiler)
    for function in found:
        function.cache_clear()
    yield
    for function in found:
        function.cache_clear()


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_the_engines_say_so_and_the_portable_one_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engines", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["native"]["available"] and found["portable"]["available"]
    told = "there is no C++ compiler (c++, g++ or clang++, or set CXX); pip install ziglang brings one"
    assert told in found["native"]["words"]
    engine, words = choose_engine("auto")
    assert engine is Portable and words.count("there is no C++ compiler") == 2


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_a_network_has_the_same_logits() -> None:
    problem = load_problem(images=4, calib_images=20)
    logits = [
        Evaluator(problem.network, problem.images, (), engine).logits(problem.network)
        for engine in (choose_engine("auto")[0], Reference)
    ]
    assert torch.equal(*logits)


@pytest.mark.skipif(not shutil.which("c++") and not shutil.which("g++"), reason="there is no C++ compiler")
def test_without_a_cache_that_can_be_written_kernels_are_compiled_for_one_process(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "tmp").mkdir()
    # The user asks for a folder inside a file. The compiler only copies kernels that are compiled already: quick.
    name = build.chosen_instruction_set()
    kernels = build.load(name)._name
    compiler = tmp_path / "compiler"
    compiler.write_text(f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift || exit; done\ncp "{kernels}" "$2"\n')
    compiler.chmod(0o755)
    cache = tmp_path / "file" / "cache"
    environment = {"CXX": str(compiler), "XDG_CACHE_HOME": str(cache), "TMPDIR": str(tmp_path / "tmp")}
    code = "from landscape.engine.native import build as b; print(b.load(b.chosen_instruction_set())._name)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    library = done.stdout.strip()
    assert library.startswith(str(tmp_path / "tmp")), done.stderr
    warned = f"{cache / 'evolq-landscape'} cannot be written"
    assert done.stderr.count(warned) == 1 and str(Path(library).parent) in done.stderr
    assert "set XDG_CACHE_HOME" in done.stderr
    assert not list((tmp_path / "tmp").glob("evolq-landscape-*"))  # gone with the process


@pytest.mark.skipif(not shutil.which("c++") and not shutil.which("g++"), reason="there is no C++ compiler")
def test_the_compiler_of_the_package_ziglang_is_used_where_the_system_has_none(tmp_path: Path) -> None:
    """A package of that name that only copies kernels: of what it is asked for, it says so in a file."""
    kernels = build.load(build.chosen_instruction_set())._name
    (tmp_path / "ziglang").mkdir()
    (tmp_path / "ziglang" / "__main__.py").write_text(
        "import pathlib, shutil, sys\n"
        f"asked = pathlib.Path({str(tmp_path / 'asked')!r})\n"
        "asked.write_text(' '.join(sys.argv[1:]))\n"
        f"if '-o' in sys.argv: shutil.copy({kernels!r}, sys.argv[sys.argv.index('-o') + 1])\n"
    )
    code = "from landscape.engine.native import native_available; print(native_available())"
    paths = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment = {k: v for k, v in os.environ.items() if k not in ("CXX", build.ISA_VARIABLE)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**environment, **paths}, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("(True, "), done.stdout
    assert (tmp_path / "asked").read_text().startswith("c++ -mcpu=baseline -std=c++17 -O3 ")


@pytest.mark.parametrize("value", ["", "cache", "./cache"])
def test_a_cache_folder_that_is_no_absolute_path_is_ignored(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert build.cache_folder() == Path("/home/somebody/.cache/evolq-landscape")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy of what belongs into it."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", "landscape_program.py"):
        shutil.copy(ROOT / name, source)
    for package in ("landscape", "evolq"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    code = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, "dist"], cwd=source, capture_output=True, text=True, check=False
    )  # fmt: skip
    if "No module named 'setuptools" in done.stderr:
        pytest.skip("setuptools is not there")
    assert done.returncode == 0, done.stderr
    return next((source / "dist").glob("*.whl"))


def test_a_wheel_holds_every_source_of_the_kernels_and_all_that_the_packages_read(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    files = (path for package in ("landscape", "evolq") for path in (ROOT / package).rglob("*"))
    wanted = {path.relative_to(ROOT).as_posix() for path in files if path.suffix in PACKAGED}
    assert {f"landscape/engine/native/{path.name}" for path in build.SOURCES} <= wanted
    assert wanted | {"landscape_program.py"} <= held


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++") and not shutil.which("g++"), reason="there is no C++ compiler")
def test_an_installed_wheel_compiles_its_own_kernels(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True)
    code = "import landscape.engine.native as n; print(n.native_available()); print(n.build.SOURCE)"
    environment = {**os.environ, "PYTHONPATH": str(target), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    available, source = done.stdout.splitlines()
    assert available.startswith("(True, ") and Path(source).is_relative_to(target)
    assert list((tmp_path / "cache").rglob("kernels-*.so"))
