"""Weight files: read as plain tensors, fitted strictly, identified by a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from landscape.errors import UserError

_NESTING = ("state_dict", "model")
_PARALLEL_PREFIX = "module."
_BATCH_COUNTER = "num_batches_tracked"


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read a weight file without running any code in it.

    Accepts safetensors, or what `torch.save` wrote of a state dict, bare or under the key "state_dict" or "model"; the
    prefix "module." that data-parallel training leaves is removed.

    Raises:
        UserError: the file is missing, damaged, or holds anything but tensors by name.
    """
    if not path.is_file():
        raise UserError(f"there is no weight file {path}; give a safetensors file or a state dict saved by torch")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for key in _NESTING:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path} holds no tensors by name; save the network's state_dict()")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise UserError(f"{path} holds {name!r} of type {type(value).__name__}; only tensors by name are read")
    if all(name.startswith(_PARALLEL_PREFIX) for name in content):
        return {name.removeprefix(_PARALLEL_PREFIX): value for name, value in content.items()}
    return dict(content)


def fit_state_dict(module: nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Copy the tensors into the network; every name and shape must agree.

    Only batch norm's `num_batches_tracked` may be missing: evaluation does not use it.

    Raises:
        UserError: names or shapes differ; the message names the first and counts them, and `path`.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state and not name.endswith(_BATCH_COUNTER)]
    unexpected = [name for name in state if name not in own]
    differing = [name for name in own if name in state and own[name].shape != state[name].shape]
    problems = [*_count("missing", missing), *_count("unexpected", unexpected)]
    if differing:
        name = differing[0]
        shapes = f"{tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the network"
        problems += _count("of another shape", differing, detail=f" ({shapes})")
    classes = _class_counts(own, state, differing)
    if classes is not None:
        problems.insert(0, f"the file has {classes[0]} classes, the network {classes[1]}")
    if problems:
        raise UserError(f"{path} does not fit the network: {'; '.join(problems)}")
    module.load_state_dict(dict(state), strict=False)


def state_dict_sha256(module: nn.Module) -> str:
    """SHA-256 (hexadecimal) over the sorted names and the bytes of every parameter and buffer."""
    result = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        result.update(name.encode() + b"\0")
        result.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return result.hexdigest()


def _read_safetensors(path: Path) -> Mapping[str, object]:
    try:
        return load_file(path)
    except Exception as error:  # SafetensorError for a damaged header, OSError or ValueError for the rest
        raise UserError(f"{path} is not a readable safetensors file ({error}); download or save it again") from error


def _read_torch(path: Path) -> object:
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # UnpicklingError for other objects; RuntimeError, EOFError, KeyError ... for other files
        raise UserError(
            f"{path} is not a file of plain tensors; only tensors are read, since a pickle can run code: "
            "save the network's state_dict() with torch or safetensors"
        ) from error
    return content


def _count(what: str, names: Sequence[str], detail: str = "") -> list[str]:
    return [f"{len(names)} {what}, first {names[0]}{detail}"] if names else []


def _class_counts(
    own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], differing: Sequence[str]
) -> tuple[int, int] | None:
    """Class counts of file and network, where a last layer of the same width and another class count tells them."""
    for name in reversed(differing):
        in_file, in_network = state[name].shape, own[name].shape
        if name.endswith("weight") and len(in_file) >= 2 and in_file[1:] == in_network[1:] and _is_last(name, own):
            return in_file[0], in_network[0]
    return None


def _is_last(name: str, own: Mapping[str, torch.Tensor]) -> bool:
    matrices = [key for key, value in own.items() if key.endswith("weight") and value.dim() >= 2]
    return name == matrices[-1]
