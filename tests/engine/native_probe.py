"""Products of an instruction set of the native engine, called by themselves."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from landscape.engine.native import build

_FOLDER = Path(__file__).parent


def compiled(source: str, flags: list[str]) -> ctypes.CDLL:
    """A C++ file of this folder as a library."""
    with tempfile.TemporaryDirectory() as folder:
        return ctypes.CDLL(str(compile_to(Path(folder), source, flags)))


def compile_to(folder: Path, source: str, flags: list[str]) -> Path:
    """The same as a file."""
    library = folder / f"{Path(source).stem}.so"
    command = [
        *build.compiler_command(),
        *flags,
        "-w",
        f"-I{build.SOURCE.parent}",
        "-o",
        str(library),
        str(_FOLDER / source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return library


@functools.cache
def probe(instruction_set: str) -> ctypes.CDLL:
    """The products of an instruction set, see products_probe.cpp."""
    return compiled("products_probe.cpp", build.compiler_flags(instruction_set))


def products(library: ctypes.CDLL, a: np.ndarray, depth: int, w: np.ndarray, init: np.ndarray) -> np.ndarray:
    """init + a[:, :depth] (w - 128)^T by the kernels: int32 (rows, outputs)."""
    sums = np.empty((a.shape[0], w.shape[0]), dtype=np.int32)
    sizes = (ctypes.c_int64(size) for size in (a.shape[0], w.shape[0], depth, a.shape[1]))
    library.probe_products(*sizes, *(ctypes.c_void_p(x.ctypes.data) for x in (a, w, init, sums)))
    return sums


def expected_products(a: np.ndarray, depth: int, w: np.ndarray, init: np.ndarray) -> np.ndarray:
    """The same in 64 bits, cut to 32 as the registers do."""
    exact = init.astype(np.int64) + a[:, :depth].astype(np.int64) @ (w.astype(np.int64) - 128).T
    return exact.astype(np.uint64).astype(np.uint32).astype(np.int32)


def operands(seed: int, rows: int, outputs: int, depth: int, stride: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of activations (rows, stride) and weights (outputs, depth), many of them the largest and smallest."""
    generator = np.random.default_rng(seed)

    def codes(*shape: int) -> np.ndarray:
        ends = generator.choice(np.array([0, 255], dtype=np.uint8), shape)
        return np.where(generator.random(shape) < 0.3, ends, generator.integers(0, 256, shape, dtype=np.uint8))

    init = generator.integers(-(2**31), 2**31, outputs, dtype=np.int64).astype(np.int32)
    return codes(rows, stride), codes(outputs, depth), init
