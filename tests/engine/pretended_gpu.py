"""A GPU that is none: tensors that say they are on ``cuda`` and are held on the CPU.

Within `pretended_gpu` every operation is refused that PyTorch would refuse on a GPU because of where its tensors are:
a tensor there with one that has dimensions here, or data read from there without a copy. So are integer products that
CUDA does not have. Values are computed by the CPU. What a GPU's own kernels give, and how fast, this does not show.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

GPU = torch.device("cuda", 0)

_aten = torch.ops.aten

_ANYWHERE = {getattr(_aten, name) for name in ("copy_", "fill_", "_to_copy", "index", "index_put_")}
"""Operations that take tensors of both: copies, and indexing with indices on the CPU."""

_FLOATING_ONLY = {
    getattr(_aten, name).default
    for name in ("mm", "bmm", "addmm", "baddbmm", "convolution", "max_pool2d_with_indices", "_adaptive_avg_pool2d")
}
"""Operations that CUDA has for floating-point numbers only."""


class OnGpu(torch.Tensor):
    """A tensor of the pretended GPU.

    Attributes:
        here: What it holds.
    """

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> OnGpu:
        made: OnGpu = torch.Tensor._make_wrapper_subclass(
            cls, here.size(), strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype, device=GPU
        )
        made.here = here
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What no dispatch mode sees: which GPU is the current one, ``torch.tensor``, lists as indices."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(_numbered, (args, kwargs or {}))
        if function is torch.tensor and (device := kwargs.pop("device", None)) is not None:
            return function(*args, **kwargs).to(device)
        if function in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[1], list):
            args = (args[0], torch.tensor(args[1]), *args[2:])
        return function(*args, **kwargs)


def _numbered(x: Any) -> Any:
    is_device = isinstance(x, torch.device) or (isinstance(x, str) and x == "cuda")
    return GPU if is_device and torch.device(x).type == "cuda" else x


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    there = any(isinstance(x, OnGpu) for x in tensors)
    device = kwargs.get("device")
    if there and function.overloadpacket not in _ANYWHERE:
        _check(function, tensors)
    if function is _aten._to_copy.default and device is None:
        device = GPU if isinstance(args[0], OnGpu) else torch.device("cpu")
    if device is not None:
        device = torch.device(device)
        kwargs = {**kwargs, "device": torch.device("cpu")}
    wanted = device.type == "cuda" if device is not None else there
    known = {id(x.here): x for x in tensors if isinstance(x, OnGpu)}
    inner_args, inner_kwargs = tree_map(lambda x: x.here if isinstance(x, OnGpu) else x, (args, kwargs))
    with torch._C._DisableTorchDispatch():
        found = function(*inner_args, **inner_kwargs)
    if function is _aten.copy_.default:
        return args[0]

    def outside(x: Any) -> Any:
        if not isinstance(x, Tensor) or not wanted:
            return x
        return known[id(x)] if id(x) in known else OnGpu(x)  # what was written to is the tensor that was given

    return tree_map(outside, found)


def _check(function: Any, tensors: list[Tensor]) -> None:
    scalars_fit = torch.Tag.pointwise in function.tags
    for x in tensors:
        if not isinstance(x, OnGpu) and not (scalars_fit and x.ndim == 0):
            raise RuntimeError(f"{function}: a tensor {tuple(x.shape)} is on the CPU, others are on the GPU")
    if function in (_aten._int_mm.default, _aten._int_mm.out):
        a, b = tensors[:2]
        fits = a.dtype is b.dtype is torch.int8 and a.shape[0] > 16 and a.shape[1] % 8 == 0 == b.shape[1] % 8
        if not fits:
            raise RuntimeError(f"_int_mm on CUDA: {a.dtype} {tuple(a.shape)} with {b.dtype} {tuple(b.shape)}")
    if function in _FLOATING_ONLY and not all(x.is_floating_point() for x in tensors):
        raise RuntimeError(f"{function} is not implemented on CUDA for integers")


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """Within: ``torch.cuda.is_available()``, and ``device="cuda"`` gives tensors that are held here."""
    torch._C._ensureCUDADeviceGuardSet()  # without a driver: does nothing
    with (
        mock.patch("torch.cuda._lazy_init", lambda: None),
        mock.patch("torch.cuda.is_available", lambda: True),
        _Mode(),
        _Functions(),
    ):
        yield
