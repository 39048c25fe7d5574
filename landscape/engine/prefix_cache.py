"""Where the values of the shared part are kept: in memory (a GPU's, there) up to a limit, beyond it in a file.

The file has no name: it is unlinked as soon as it is open, so nothing is left of it however the process ends (on
Windows it goes when it is closed). Its pages are mapped into memory as they are read, and the system drops them again
when it needs the room.
"""

from __future__ import annotations

import copy
import mmap
import tempfile
from collections.abc import Callable, Mapping
from typing import IO

import numpy as np
import torch
from torch import Tensor

from landscape.engine.values import Codes, Value
from landscape.errors import UserError

_SMALL = 4096
"""Bytes up to which a tensor is not worth a place in the file. Vectors never are: parameters that values share."""


class PrefixCache:
    """Values by name, in the smallest integer type that holds them.

    Args:
        memory_bytes: How much may stay in memory; the rest goes to the file.
        device: Where the values are computed, in whose memory they stay.
    """

    def __init__(self, memory_bytes: int, device: str = "cpu") -> None:
        self._free, self._device = memory_bytes, device
        self._end = 0
        self._file: IO[bytes] | None = None

    @property
    def bytes_on_disk(self) -> int:
        """Size of the file."""
        return self._end

    def keep(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The same values, packed, and moved to the file where memory is used up.

        Raises:
            UserError: The disk is full.
        """
        packed = {name: value.packed() if isinstance(value, Codes) else value for name, value in values.items()}
        size = sum(_size(value) for value in packed.values())
        if size <= self._free:
            self._free -= size
            return packed
        return {name: mapped(value, self._written) for name, value in packed.items()}

    def read(self, kept: Mapping[str, Value]) -> dict[str, Value]:
        """What was given to `keep`, from what that gave, unpacked and on the device."""
        if self._device != "cpu":
            kept = {name: mapped(value, lambda tensor: tensor.to(self._device)) for name, value in kept.items()}
        return {name: value.unpacked() if isinstance(value, Codes) else value for name, value in kept.items()}

    def _written(self, tensor: Tensor) -> Tensor:
        count = tensor.numel() * tensor.element_size()
        if count <= _SMALL or tensor.ndim < 2:
            return tensor
        array = tensor.contiguous().cpu().numpy()
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="landscape-")  # noqa: SIM115  # lives as long as the cache
            self._file.seek(self._end)
            self._file.write(array.data)
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"the cache does not fit into {tempfile.gettempdir()} ({error.strerror}); give more memory with "
                "--cache-gb, or set TMPDIR to a folder with more room"
            ) from error
        # copy-on-write: PyTorch wants memory that could be written, and nothing writes it
        read = np.memmap(self._file, array.dtype, "c", self._end, array.shape)
        self._end += -(-count // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        return torch.from_numpy(read)


def mapped(value: Value, function: Callable[[Tensor], Tensor]) -> Value:
    """A value whose tensors are replaced by their image under a function; of any kind of codes, nested ones too."""
    if isinstance(value, Tensor):
        return function(value)
    result = copy.copy(value)
    for name, part in vars(value).items():
        if isinstance(part, Tensor | Codes):
            object.__setattr__(result, name, mapped(part, function))
    return result


def _size(value: Value) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(_size(part) for part in vars(value).values() if isinstance(part, Tensor | Codes))
