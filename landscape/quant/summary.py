"""A quantized network in a table: one plain record for each quantizer, and what stays float.

From the network itself (`summarize`), or from its parameters alone, as a run folder or a file holds them
(`summarize_parameters`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from landscape.quant.network import QuantizedNetwork
from landscape.quant.parameters import to_parameters
from landscape.quant.scheme import Scheme

ROLES = ("weight", "activation", "softmax", "residual")
"""What a quantizer is for; ``residual`` is what a LayerNorm reads, with power-of-two factors."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class QuantizerSummary:
    """One quantizer.

    Attributes:
        name: Of its scale: ``blocks.5.attn.qkv.weight``, ``blocks.5.attn.softmax.output``.
        role: One of `ROLES`.
        bits: Of the codes.
        observer: What chose the scale: ``minmax``, ``ema``, ``percentile``, ``omse``, ``omse-shared`` or ``ptf``;
            ``log2`` for codes that need no scale.
        channels: Number of scales; with power-of-two factors the number of channels that share the one scale.
        scale_min: Smallest scale; None where there is none. With power-of-two factors that of a channel.
        scale_median: Their median.
        scale_max: The largest.
        zero_point_min: Smallest zero point; None where there is none.
        zero_point_max: The largest.
    """

    name: str
    role: str
    bits: int
    observer: str
    channels: int
    scale_min: float | None
    scale_median: float | None
    scale_max: float | None
    zero_point_min: int | None
    zero_point_max: int | None

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class NetworkSummary:
    """A quantized network at a glance.

    Attributes:
        bits: Such as ``w4a8``.
        quantizers: In the order of computation.
        float_parts: What stays float, one readable line each.
    """

    bits: str
    quantizers: tuple[QuantizerSummary, ...]
    float_parts: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def summarize(network: QuantizedNetwork) -> NetworkSummary:
    """The table of a network, Log-Int-Softmax included."""
    scheme = network.scheme
    parameters = {name: value.numpy() for name, value in to_parameters(network).items()}
    rows = {row.name.rpartition(".")[::2]: row for row in summarize_parameters(parameters, scheme.to_dict())}
    ordered = []
    for node in network.graph:
        if (node.name, "weight") in rows:
            ordered.append(rows[node.name, "weight"])
        place = network.placements.get(node.name)
        if place is not None and place.kind == "log2":
            name = f"{node.name}.output"
            ordered.append(QuantizerSummary(name, "softmax", place.bits, "log2", 1, None, None, None, None, None))
        elif place is not None:
            row = asdict(rows[node.name, "output"]) | {"bits": place.bits}
            if node.op == "softmax":  # known for sure here, by name alone there
                row["role"] = "softmax"
            ordered.append(QuantizerSummary(**row))
    return NetworkSummary(scheme.bits, tuple(ordered), tuple(network.float_parts()))


def summarize_parameters(parameters: Mapping[str, Array], scheme: Mapping[str, Any]) -> list[QuantizerSummary]:
    """The rows of a network of which only the parameters are at hand.

    Args:
        parameters: By the names in `landscape.quant.parameters`.
        scheme: As plain data, see `Scheme.to_dict`.

    Returns:
        One row for each scale, in the order of the parameters. A softmax is known by its name here.

    Raises:
        UserError: The scheme is none.
    """
    chosen = Scheme.from_dict(scheme)
    names = [name.removesuffix(".scale") for name in parameters if name.endswith(".scale")]
    return [_row(name, parameters, chosen) for name in names]


def _row(name: str, parameters: Mapping[str, Array], scheme: Scheme) -> QuantizerSummary:
    scale = np.atleast_1d(np.asarray(parameters[f"{name}.scale"], dtype=np.float64))
    zero_point = np.atleast_1d(np.asarray(parameters[f"{name}.zero_point"], dtype=np.float64))
    exponents = parameters.get(f"{name}.exponents")
    role, bits, observer = _part(name, exponents is not None, scheme)
    if exponents is not None:
        scale = scale * 2.0 ** np.asarray(exponents, dtype=np.float64)
    return QuantizerSummary(
        name=name,
        role=role,
        bits=bits,
        observer=observer,
        channels=scale.size,
        scale_min=float(scale.min()),
        scale_median=float(np.median(scale)),
        scale_max=float(scale.max()),
        zero_point_min=int(zero_point.min()),
        zero_point_max=int(zero_point.max()),
    )


def _part(name: str, with_factors: bool, scheme: Scheme) -> tuple[str, int, str]:
    owner, _, kind = name.rpartition(".")
    if kind == "weight":
        return "weight", scheme.weight_bits, scheme.weight_observer
    if with_factors:
        return "residual", scheme.activation_bits, "ptf"
    if owner.rpartition(".")[2].startswith("softmax"):
        return "softmax", scheme.softmax_bits, scheme.activation_observer
    return "activation", scheme.activation_bits, scheme.activation_observer
