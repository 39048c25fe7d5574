"""``torch.compile`` for the kernels: whether it can be had, and what happens where it cannot."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from landscape.errors import UserError

COMPILE_VARIABLE = "LANDSCAPE_COMPILE"
"""Environment variable: 0 keeps the portable engine from compiling."""


@cache
def compiler() -> tuple[bool, str]:
    """Whether kernels can be compiled, and in words how, or why not. Looks only; nothing is compiled yet.

    Inductor writes C++ for the CPU and needs a C++ compiler; for a GPU it writes Triton and needs a C compiler.

    Raises:
        UserError: The environment variable is neither 0 nor 1.
    """
    wanted = os.environ.get(COMPILE_VARIABLE) or "1"
    if wanted not in ("0", "1"):
        raise UserError(f"{COMPILE_VARIABLE}={wanted} is neither 0 nor 1; give 0 to keep the engine from compiling")
    if wanted == "0":
        return False, f"eager PyTorch, since {COMPILE_VARIABLE}=0"
    names = (os.environ.get("CXX"), "g++", "clang++", "c++", "cl")
    if not any(name and shutil.which(name) for name in names):
        return False, "eager PyTorch, since there is no C++ compiler for torch.compile"
    return True, "torch.compile"


_NEVER = 1000


@cache
def _options(one_loop: bool) -> dict[str, Any]:
    """Set dynamo up for the kernels, and return options for inductor.

    A kernel has a few variants (with and without offset; int32 or float sums; layouts), and a process may hold many
    networks: more than dynamo's default of 8. The limit is there to find functions that compile for every value; these
    cannot, since all numbers in them are constants. By default dynamo would pass such constants as arguments, which
    the kernel then loads and converts again for every few elements.

    The bounds of `float32` hold for a * b + c with one rounding too, so the C++ compiler may contract it.
    """
    import torch._dynamo
    import torch._inductor.config

    config = torch._dynamo.config
    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # before PyTorch 2.7
    setattr(config, limit, max(getattr(config, limit), 64))
    if hasattr(config, "specialize_float"):
        config.specialize_float = True
    contract = "enable_floating_point_contract_flag"
    options: dict[str, Any] = {}
    if hasattr(torch._inductor.config.cpp, contract):
        options[f"cpp.{contract}"] = "fast"
    if one_loop:
        options["realize_opcount_threshold"] = options["realize_reads_threshold"] = _NEVER
    return options


_failures: list[str] = []


def usable() -> bool:
    """Whether kernels are compiled: there is a compiler, and it has not failed in this process."""
    return not _failures and compiler()[0]


def compiled(kernel: Callable[..., Any], one_loop: bool = False) -> Callable[..., Any | None]:
    """A kernel compiled on its first call, for all sizes at once; returns None from when compiling has failed on.

    Sizes are symbolic and every parameter is a tensor, so that neither another batch nor another candidate compiles
    anything anew. Inductor keeps the results in a cache of its own between runs.

    Args:
        kernel: What to compile.
        one_loop: Whether inductor is to hold no intermediate result in memory, however long the kernel is.
    """
    made: list[Callable[..., Any]] = []  # on the first call: importing dynamo takes a second

    def call(*arguments: Any) -> Any | None:
        if not usable():
            return None
        try:
            if not made:
                made.append(torch.compile(kernel, dynamic=True, fullgraph=True, options=_options(one_loop)))
            return made[0](*arguments)
        except Exception as error:  # of many kinds, from dynamo, inductor, the compiler or the loader
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            _failures.append(reason)
            warnings.warn(
                f"torch.compile failed ({reason.strip()[:200]}); the portable engine goes on in eager PyTorch, slower "
                f"with the same values; {COMPILE_VARIABLE}=0 does so from the start",
                RuntimeWarning,
                stacklevel=2,
            )
            return None

    return call
