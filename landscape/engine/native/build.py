"""Compiles the kernels with a C++ compiler on first use, and loads them.

The compiler is the system's, or else clang as the Python package ``ziglang`` has it, which pip can install. One library
per instruction set, kept in the user's cache folder under a name made of source, flags and compiler, so a change of any
of them compiles anew and nothing else does. Where that folder cannot be written, a temporary one serves.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path

from landscape.engine.native.processor import processor_flags, tiles_denied

SOURCE = Path(__file__).with_name("kernels.cpp")
SOURCES = sorted((*SOURCE.parent.glob("*.cpp"), *SOURCE.parent.glob("*.h")))

COMMON_FLAGS = (
    "-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden",
    "-ffp-contract=off",  # a * b + c stays two roundings, as in the reference
    "-fno-math-errno", "-fno-trapping-math",  # change no value
    "-Wno-psabi",  # vectors are passed between inlined functions only
)  # fmt: skip

_AVX512 = ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni")
_AVX512_FLAGS = (
    "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni", "-mavx2", "-mfma",
    "-mprefer-vector-width=512",
)  # fmt: skip
_VBMI, _VBMI_FLAGS = (*_AVX512, "avx512vbmi"), (*_AVX512_FLAGS, "-mavx512vbmi")

INSTRUCTION_SETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "amx": (("amx_tile", "amx_int8", *_VBMI), (*_VBMI_FLAGS, "-mamx-tile", "-mamx-int8", "-DLANDSCAPE_AMX")),
    "avx512": (_VBMI, _VBMI_FLAGS),
    "avx512_vnni": (_AVX512, _AVX512_FLAGS),
    "avx2": (("avx2", "fma"), ("-mavx2", "-mfma")),
    "generic": ((), ()),
}
"""Best first: what the processor must have (words of Linux's cpuinfo), and the compiler's flags."""

EMULATED = "amx_emulated"
"""The kernels of ``amx`` with its instructions in plain C++, on the best other set: for tests, only when asked for."""

ISA_VARIABLE = "LANDSCAPE_NATIVE_ISA"
"""Environment variable that asks for one of `INSTRUCTION_SETS`, or for `EMULATED`, in place of the best."""


_RIGHT, _ILLEGAL = 1, 2
"""Verdicts of the self-test, as in selftest.h."""


class NativeUnavailable(RuntimeError):  # noqa: N818 - it says what is the case
    """Why the kernels are not to be had, in one line."""


def instruction_sets() -> list[str]:
    """Those that this machine has, best first."""
    return [name for name in INSTRUCTION_SETS if why_not(name) is None]


def why_not(name: str) -> str | None:
    """Why this machine does not have an instruction set, or None."""
    found = processor_flags()
    lacking = [word for word in INSTRUCTION_SETS[name][0] if word not in found]
    if lacking:
        return f"not {name}: this processor has no {', '.join(lacking)}"
    denied = tiles_denied() if name == "amx" else None
    return None if denied is None else f"not {name}: {denied}"


def chosen_instruction_set() -> str:
    """The best whose kernels pass their self-test here, or the one asked for by the environment.

    Raises:
        NativeUnavailable: The one asked for is unknown or not there, or none can be used.
    """
    wanted = os.environ.get(ISA_VARIABLE)
    if wanted is None:
        return usable_instruction_set()[0]
    available = [*instruction_sets(), EMULATED]
    if wanted not in available:
        raise NativeUnavailable(f"{ISA_VARIABLE}={wanted} is not to be had here; there are {', '.join(available)}")
    return wanted


@cache
def usable_instruction_set() -> tuple[str, tuple[str, ...]]:
    """The best that can be used, and why better ones were passed over."""
    compiler_command()
    reasons: list[str] = []
    for name in INSTRUCTION_SETS:
        reason = why_not(name)
        if reason is None:
            try:
                load(name)
            except NativeUnavailable as error:
                reason = f"not {name}: {error}"
            else:
                return name, tuple(reasons)
        reasons.append(reason)
    raise NativeUnavailable("; ".join(reasons))


def compiler_flags(instruction_set: str) -> list[str]:
    """The compiler's flags for one of `INSTRUCTION_SETS`, or for `EMULATED`."""
    if instruction_set == EMULATED:
        best = next(name for name in instruction_sets() if name != "amx")
        return [*COMMON_FLAGS, *INSTRUCTION_SETS[best][1], "-DLANDSCAPE_AMX", "-DLANDSCAPE_AMX_EMULATED"]
    return [*COMMON_FLAGS, *INSTRUCTION_SETS[instruction_set][1]]


@cache
def load(instruction_set: str) -> ctypes.CDLL:
    """The kernels for an instruction set, compiled if that has not been done before.

    Raises:
        NativeUnavailable: There is no C++ compiler, it fails, or the kernels do not pass their self-test.
    """
    compiler = compiler_command()
    flags = compiler_flags(instruction_set)
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False).stdout
    sources = [path.name + path.read_text() for path in SOURCES]
    key = hashlib.sha256("\0".join([*sources, *compiler[1:], *flags, version]).encode()).hexdigest()[:16]
    library = cache_folder() / f"kernels-{instruction_set}-{key}.so"
    if not os.access(library, os.R_OK):  # unlike is_file, no error where the folder may not be entered
        library = _compile(compiler, flags, library)
    try:
        kernels = ctypes.CDLL(str(library))
    except OSError as error:
        raise NativeUnavailable(f"the compiled kernels cannot be loaded: {error}") from error
    verdict = kernels.landscape_self_test()
    if verdict == _ILLEGAL:
        raise NativeUnavailable("its kernels use an instruction that this processor refuses")
    if verdict != _RIGHT:
        raise NativeUnavailable("its kernels fail their self-test on this processor or compiler")
    return kernels


def cache_folder() -> Path:
    """Where compiled kernels lie.

    The XDG Base Directory Specification calls relative paths invalid; they are ignored.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (root if root.is_absolute() else Path.home() / ".cache") / "evolq-landscape"


@cache
def _writable(folder: Path) -> Path:
    """The folder, or where it cannot be written a temporary one that is removed when the process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        temporary = Path(tempfile.mkdtemp(prefix="evolq-landscape-"))
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        warnings.warn(
            f"{folder} cannot be written ({error.strerror}); the kernels are compiled into {temporary}, for this "
            "process only: set XDG_CACHE_HOME to a folder that can be written to keep them",
            RuntimeWarning,
            stacklevel=2,
        )
        return temporary


def _compile(compiler: list[str], flags: list[str], wanted: Path) -> Path:
    """Compile the kernels into a library of the wanted path, or name; returns where it lies."""
    try:
        library = _writable(wanted.parent) / wanted.name
        # Two processes may compile at once: each into a folder of its own, and the renaming is atomic.
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            result = Path(folder) / library.name
            command = [*compiler, *flags, "-o", str(result), str(SOURCE)]
            caches = {name: str(Path(folder) / "zig") for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")}
            environment = {**os.environ, **caches}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                words = (done.stderr.strip().splitlines() or ["no message"])[0]
                raise NativeUnavailable(f"{' '.join(compiler)} failed: {words}")
            result.replace(library)
    except OSError as error:
        raise NativeUnavailable(f"the kernels cannot be compiled: {error}") from error
    return library


def compiler_command() -> list[str]:
    """What calls the C++ compiler: a program, and the arguments that come before all others.

    Raises:
        NativeUnavailable: There is none.
    """
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        path = shutil.which(name) if name else None
        if path is not None:
            return [path]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "c++", "-mcpu=baseline"]  # else it adds all that this processor has
    raise NativeUnavailable(
        "there is no C++ compiler (c++, g++ or clang++, or set CXX); pip install ziglang brings one"
    )
