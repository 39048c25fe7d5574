"""A plan with a network's parameters: ready to run."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from landscape.engine.native.layout import Layout
from landscape.engine.native.plan import ATTENTION, CONVOLUTION, LAYER, MATRICES, RESAMPLE, SOFTMAX, Place, Plan
from landscape.engine.native.values import RawCodes, SmallIntegers
from landscape.engine.values import Value

if TYPE_CHECKING:
    from landscape.engine.native.prepared import Prepared

_DTYPES = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.float64}
"""By the bytes of a number."""

_SCRATCH = {
    ATTENTION: "landscape_attention_scratch",
    CONVOLUTION: "landscape_convolution_scratch",
    MATRICES: "landscape_matrices_scratch",
    RESAMPLE: "landscape_resample_scratch",
}
"""What tells how much memory a step needs besides the values."""


class _Step(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int32), ("inputs", ctypes.c_int32 * 3), ("output", ctypes.c_int32),
        ("parameters", ctypes.c_void_p), ("g", ctypes.c_int64 * 16),
    )  # fmt: skip


class _Buffer(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("stride", ctypes.c_int64), ("offset", ctypes.c_int64))


class BoundPlan:
    """A plan whose steps have the parameters of one network.

    Args:
        native: Arithmetic of the network.
        plan: The steps.
    """

    def __init__(self, native: Prepared, plan: Plan) -> None:
        self._native, self._plan = native, plan
        self._kernels = native.kernels
        self._parameters = [native.bind(step) for step in plan.steps]
        self._steps = (_Step * len(plan.steps))(*(self._step(i) for i in range(len(plan.steps))))
        self._constants = {b: native.constant_codes(constant) for b, constant in plan.constants.items()}
        self._offsets, self._arena = plan.offsets
        self._scratch = max((self._scratch_of(i) for i in range(len(plan.steps))), default=0)
        self._sources = {
            name: native.source_quantizer(place.source) for name, place in (*plan.given.items(), *plan.wanted.items())
        }
        self.seconds: Any = None

    def _step(self, index: int) -> _Step:
        step, parameters = self._plan.steps[index], self._parameters[index]
        address = ctypes.addressof(parameters.struct)
        inputs = (ctypes.c_int32 * 3)(*step.inputs, *[-1] * (3 - len(step.inputs)))
        return _Step(step.kind, inputs, step.output, address, (ctypes.c_int64 * 16)(*step.geometry))

    def _scratch_of(self, index: int) -> int:
        """Bytes of memory that a step needs besides the values."""
        parameters, step = self._parameters[index], self._plan.steps[index]
        if step.kind == LAYER:
            rows = self._size("landscape_rows")
            return rows * (int(parameters.struct.layer.depth) + 64)
        if step.kind == SOFTMAX:
            return self._size("landscape_softmax_scratch", ctypes.c_int64(step.geometry[1]))
        if step.kind in _SCRATCH:
            return self._size(_SCRATCH[step.kind], parameters.pointer)
        return 0

    def _size(self, function: str, *arguments: Any) -> int:
        called = getattr(self._kernels, function)
        called.restype = ctypes.c_int64
        return int(called(*arguments))

    def profile(self) -> dict[str, float]:
        """Least processor time in seconds that any image has taken since the first call, by step (with one thread)."""
        if self.seconds is None:
            self.seconds = (ctypes.c_double * len(self._plan.steps))(*[math.inf] * len(self._plan.steps))
        return {step.name: float(t) for step, t in zip(self._plan.steps, self.seconds, strict=True)}

    def run(self, values: Mapping[str, Value], images: int) -> dict[str, Value] | None:
        """The wanted values from given ones.

        Args:
            values: By node; holds the given ones.
            images: How many there are. (Values that have several rows an image may be given, if all have as many.)

        Returns:
            None where given values are float, or not as many of one as of another.
        """
        plan = self._plan
        given = {name: self._native.small(name, values[name]) for name in plan.given}
        tensors = {place.buffer: self._given(name, place, given[name]) for name, place in plan.given.items()}
        counts = {0 if tensor is None else tensor.shape[0] for tensor in tensors.values()} or {images}
        if len(counts) > 1 or 0 in counts:
            return None
        (images,) = counts
        return self._run({buffer: tensor for buffer, tensor in tensors.items() if tensor is not None}, images)

    def _run(self, tensors: dict[int, Tensor], images: int) -> dict[str, Value]:
        plan = self._plan
        buffers = (_Buffer * len(plan.sizes))()
        for buffer, offset in self._offsets.items():
            buffers[buffer].offset = offset
        for buffer, codes in self._constants.items():
            buffers[buffer].base = codes.data_ptr()
        for place in plan.wanted.values():
            if place.buffer not in tensors:
                dtype = _DTYPES[place.bytes]
                tensors[place.buffer] = torch.empty((images, plan.sizes[place.buffer] // place.bytes), dtype=dtype)
        for buffer, tensor in tensors.items():
            buffers[buffer].base, buffers[buffer].stride = tensor.data_ptr(), plan.sizes[buffer]
        self._kernels.landscape_run(
            ctypes.c_int(torch.get_num_threads()), ctypes.c_int64(images), self._steps, ctypes.c_int64(len(plan.steps)),
            buffers, ctypes.c_int64(self._arena), ctypes.c_int64(self._scratch), self.seconds,
        )  # fmt: skip
        return {name: self._value(name, place, tensors[place.buffer]) for name, place in plan.wanted.items()}

    def _given(self, name: str, place: Place, value: Value) -> Tensor | None:
        """A value's numbers, image by image; None where they are not those that the plan reads."""
        quantizer = self._sources[name]
        if isinstance(value, RawCodes) and place.coded:
            same = value.zero_point == int(quantizer.zero_point) and value.scale == float(quantizer.scale)
            numbers = value.codes
        elif isinstance(value, SmallIntegers) and value.integers.dtype == _DTYPES[place.bytes]:
            same, numbers = value.scale == float(quantizer.scale), value.integers
        else:
            return None
        if not same:
            raise ValueError(f"{name} has other parameters than its quantizer {place.source}")
        strides = place.layout.strides
        assert strides is not None
        order = sorted(range(len(strides.steps)), key=lambda axis: -strides.steps[axis])
        return numbers.movedim(place.layout.axis, 0).permute(0, *(axis + 1 for axis in order)).contiguous()

    def _value(self, name: str, place: Place, numbers: Tensor) -> Value:
        quantizer = self._sources[name]
        shaped = _shaped(numbers, place.layout)
        if place.bytes == 8:
            return shaped
        if not place.coded:
            return SmallIntegers(shaped, float(quantizer.scale))
        return RawCodes(shaped, int(quantizer.zero_point), float(quantizer.scale))


def _shaped(numbers: Tensor, layout: Layout) -> Tensor:
    """A buffer (images, ...), contiguous, as the value that lies in it."""
    strides, images = layout.strides, numbers.shape[0]
    if strides is None or any(step < 0 for step in strides.steps):  # backwards, as behind a flip
        picked = numbers.reshape(images, -1)[:, layout.image.reshape(-1)].reshape(images, *layout.image.shape)
        return picked.movedim(0, layout.axis)
    start = numbers.storage_offset() + strides.offset
    view = numbers.as_strided((images, *strides.sizes), (numbers.stride(0), *strides.steps), start)
    return view.movedim(0, layout.axis)
