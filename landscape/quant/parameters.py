"""All parameters of a quantized network as named tensors: to store it, to share it, to load another's.

| name                       | shape          | what                                                   |
|----------------------------|----------------|--------------------------------------------------------|
| `<layer>.weight.scale`     | (out,)         | positive                                               |
| `<layer>.weight.zero_point`| (out,)         | integers 0 .. 2^bits - 1                               |
| `<node>.output.scale`      | ()             | positive; with exponents, the scale of exponent 0      |
| `<node>.output.zero_point` | ()             | an integer 0 .. 2^bits - 1                             |
| `<node>.output.exponents`  | (channels,)    | integers 0 .. 3, for power-of-two factors              |
| `<layer>.bias`             | (out,)         | the corrected bias, with bias correction of the output |

With them, a `Scheme` and whether the images are kept exact say everything; weights stay in the model's own file.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from landscape.errors import UserError
from landscape.graph import Graph
from landscape.quant.network import ActivationQuantizer, QuantizedNetwork, WeightQuantizer, scale_names
from landscape.quant.placement import place_quantizers
from landscape.quant.qparams import CodeRange
from landscape.quant.scheme import FLOAT_BITS, Scheme

FORMAT = "evolq-landscape quantized network 1"
"""Written into a file's metadata, and asked for when one is read."""


def to_parameters(network: QuantizedNetwork) -> dict[str, Tensor]:
    """The named tensors of the table above."""
    parameters: dict[str, Tensor] = {}
    for name in network.scale_names():
        owner, _, kind = name.rpartition(".")
        quantizer = network.weights[owner] if kind == "weight" else network.activations[owner]
        parameters[f"{name}.scale"] = quantizer.scale
        parameters[f"{name}.zero_point"] = quantizer.zero_point
        if isinstance(quantizer, ActivationQuantizer) and quantizer.exponents is not None:
            parameters[f"{name}.exponents"] = quantizer.exponents
    for layer, bias in network.biases.items():
        parameters[f"{layer}.bias"] = bias
    return parameters


def parameters_sha256(network: QuantizedNetwork) -> str:
    """SHA-256 (hexadecimal) of all names and values of `to_parameters`, in float64."""
    digest = hashlib.sha256()
    for name, value in to_parameters(network).items():
        digest.update(name.encode() + b"\0" + value.double().contiguous().numpy().tobytes())
    return digest.hexdigest()


def from_parameters(
    graph: Graph, scheme: Scheme, exact_input: bool, parameters: Mapping[str, Tensor]
) -> QuantizedNetwork:
    """The quantized network with given parameters: the inverse of `to_parameters`.

    Args:
        graph: The float network.
        scheme: How it is quantized; decides which parameters there must be.
        exact_input: Whether the images are kept as they are.
        parameters: By the names of the table above, in any number type.

    Raises:
        UserError: A name is missing or unknown, a shape differs, a scale is not positive and finite, or a zero point or
            exponent is not an integer in range.
    """
    scheme = scheme.for_graph(graph)
    placements = place_quantizers(graph, scheme, exact_input)
    left = dict(parameters)
    weights: dict[str, WeightQuantizer] = {}
    activations: dict[str, ActivationQuantizer] = {}
    for name in scale_names(graph, scheme, placements):
        owner, _, kind = name.rpartition(".")
        if kind == "weight":
            weight = graph[owner].weight
            assert weight is not None
            scale, zero_point = _pair(left, name, (weight.shape[0],), scheme.weight_bits)
            weights[owner] = WeightQuantizer(scheme.weight_bits, scale, zero_point)
            continue
        place = placements[owner]
        scale, zero_point = _pair(left, name, (), place.bits)
        exponents = _exponents(left, name, graph[owner].shape[place.channel_axis]) if place.kind == "ptf" else None
        activations[owner] = ActivationQuantizer(place.bits, scale, zero_point, exponents, place.channel_axis)
    biases = {}
    if scheme.bias_correction == "output":
        for layer in weights:
            biases[layer] = _take(left, f"{layer}.bias", (weights[layer].scale.numel(),))
    if left:
        raise UserError(
            f"unknown quantization parameter {sorted(left)[0]} ({len(left)} in all); this network has none of that name"
        )
    exact_input = exact_input and scheme.activation_bits != FLOAT_BITS
    return QuantizedNetwork(graph, scheme, exact_input, placements, weights, activations, biases)


def save_quantized(path: Path, network: QuantizedNetwork, about: Mapping[str, Any]) -> None:
    """Write a quantized network as safetensors.

    Args:
        path: The file.
        network: What to write.
        about: Plain data on where it comes from (model, images, versions), kept in the file's metadata.

    Raises:
        UserError: The file cannot be written; then none is left behind.
    """
    metadata = {
        "format": FORMAT,
        "scheme": json.dumps(network.scheme.to_dict()),
        "exact_input": json.dumps(network.exact_input),
        "about": json.dumps(about, default=str),
    }
    tensors = {name: value.contiguous() for name, value in to_parameters(network).items()}
    partial = path.with_name(path.name + ".part")
    try:
        save_file(tensors, partial, metadata)
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error}; choose another --out") from error


def load_quantized(path: Path, graph: Graph, weights_sha256: str | None = None) -> QuantizedNetwork:
    """Read a quantized network; the scheme comes from the file.

    A file made by hand needs the tensors, and in its metadata ``scheme`` (a JSON object, see `Scheme`) and
    ``exact_input`` (``true`` or ``false``).

    Args:
        path: The file.
        graph: The float network.
        weights_sha256: Hash of the float network's weights, compared with that in the file where it has one.

    Raises:
        UserError: The file is missing, is not such a file, or does not fit the network.
    """
    parameters, metadata = _read(path)
    if metadata.get("format", FORMAT) != FORMAT:
        raise UserError(f"{path} is of the format {metadata['format']!r}; this release reads {FORMAT!r}")
    try:
        scheme = Scheme.from_dict(json.loads(metadata["scheme"]))
        exact_input = json.loads(metadata["exact_input"])
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} says nothing usable about its scheme ({error}); its metadata needs 'scheme' and 'exact_input'"
        ) from error
    if not isinstance(exact_input, bool):
        raise UserError(f"{path} has exact_input {metadata['exact_input']}; its metadata must say true or false")
    made_for = _about(metadata).get("weights_sha256")
    if weights_sha256 is not None and made_for not in (None, weights_sha256):
        raise UserError(
            f"{path} was made for weights with hash {str(made_for)[:12]}, but this network has {weights_sha256[:12]}: "
            "give the same --model and --weights"
        )
    try:
        return from_parameters(graph, scheme, exact_input, parameters)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def read_about(path: Path) -> dict[str, Any]:
    """What a file says about where it comes from.

    Raises:
        UserError: The file is missing or is not safetensors.
    """
    return _about(_read(path)[1])


def _about(metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        about = json.loads(metadata.get("about", "{}"))
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"cannot read the quantized network {path}: {error}; give a file of `landscape quantize`"
        ) from error


def _take(left: dict[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    if name not in left:
        near = difflib.get_close_matches(name, left, 1, 0.8)
        hint = f" (there is {near[0]})" if near and left[near[0]].shape == shape else ""
        raise UserError(f"quantization parameter {name} is missing; expected shape {shape}{hint}")
    value = left.pop(name).double()
    if tuple(value.shape) != shape:
        raise UserError(f"quantization parameter {name} has shape {tuple(value.shape)}; expected {shape}")
    if not bool(torch.isfinite(value).all()):
        raise UserError(f"quantization parameter {name} holds values that are not finite")
    return value


def _pair(left: dict[str, Tensor], name: str, shape: tuple[int, ...], bits: int) -> tuple[Tensor, Tensor]:
    scale, zero_point = _take(left, f"{name}.scale", shape), _take(left, f"{name}.zero_point", shape)
    if not bool((scale > 0).all()):
        raise UserError(f"quantization parameter {name}.scale holds values that are not positive")
    _check_integers(f"{name}.zero_point", zero_point, CodeRange(bits).qmax)
    return scale, zero_point


def _exponents(left: dict[str, Tensor], name: str, channels: int) -> Tensor:
    exponents = _take(left, f"{name}.exponents", (channels,))
    _check_integers(f"{name}.exponents", exponents, 3)
    return exponents.long()


def _check_integers(name: str, value: Tensor, highest: int) -> None:
    if not bool(((value == value.round()) & (value >= 0) & (value <= highest)).all()):
        raise UserError(f"quantization parameter {name} holds values that are not integers from 0 to {highest}")
