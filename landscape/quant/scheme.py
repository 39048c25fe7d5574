"""How a network is quantized: one dataclass, its presets, and the short form ``w4a8s4`` for bit widths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from landscape.errors import UserError
from landscape.graph import Graph, Node

FLOAT_BITS = 32
"""As a bit width: not quantized."""

WEIGHT_OBSERVERS = ("minmax", "omse", "omse-shared")
ACTIVATION_OBSERVERS = ("minmax", "ema", "percentile", "omse")
CHOICES: dict[str, tuple[str, ...]] = {
    "weight_observer": WEIGHT_OBSERVERS,
    "weight_codes": ("unsigned", "signed"),
    "weight_scales": ("channel", "tensor"),
    "activation_observer": ACTIVATION_OBSERVERS,
    "activation_codes": ("unsigned", "signed"),
    "residual": ("ptf", "tensor"),
    "layer_norm": ("float", "integer"),
    "softmax": ("uniform", "log2"),
    "bias_correction": ("auto", "none", "weight", "output"),
    "input": ("auto", "quantized", "exact"),
}


@dataclass(frozen=True)
class Scheme:
    """Everything that decides the integer codes, apart from the calibration images.

    Attributes:
        weight_bits: 2 to 8, or 32 for float weights.
        activation_bits: 2 to 8, or 32. Per tensor.
        softmax_bits: 2 to 8, or 32; bits of the softmax output.
        weight_observer: ``minmax`` (**released**, preset fq-vit), ``omse`` (per channel, **ours**) or ``omse-shared``
            (one shrink ratio for all channels of a layer, **released**).
        weight_codes: ``unsigned`` with a zero point (**released**), or ``signed``: symmetric about zero. Signed codes
            are kept as unsigned ones with the zero point 2^(bits - 1), which is the same grid.
        weight_scales: One per output ``channel`` (**released**), or one for the whole ``tensor``.
        activation_observer: ``minmax``, ``ema``, ``percentile`` or ``omse``; see `landscape.quant.observers`.
        activation_codes: As `weight_codes`; the softmax output is unsigned in any case.
        residual: Quantizer of what a LayerNorm reads: ``ptf``, power-of-two factors per channel (**paper**), or
            ``tensor``, as any other activation.
        layer_norm: ``float`` arithmetic on the quantized input, or ``integer`` (**released**, FQ-ViT).
        softmax: Codes of the softmax output: ``uniform``, or ``log2`` with an integer exponential (Log-Int-Softmax,
            **released**).
        bias_correction: ``weight`` re-centres and re-scales each dequantized output channel to the float weight's mean
            and standard deviation (**released**); ``output`` moves the bias by the mean output error; ``none``; or
            ``auto`` (**ours**): output where there are depthwise convolutions, whose few weights a channel have no
            moments worth matching, weight elsewhere (measured in ``benchmarks/results/presets.md``).
        input: ``quantized`` to 8-bit codes by the activation observer, ``exact`` (an 8-bit image is kept as it is), or
            ``auto``: exact where mean and standard deviation are 0.5, quantized elsewhere (**released**).
    """

    weight_bits: int = 4
    activation_bits: int = 8
    softmax_bits: int = 8
    weight_observer: str = "omse"
    weight_codes: str = "unsigned"
    weight_scales: str = "channel"
    activation_observer: str = "minmax"
    activation_codes: str = "unsigned"
    residual: str = "ptf"
    layer_norm: str = "float"
    softmax: str = "uniform"
    bias_correction: str = "auto"
    input: str = "auto"

    def __post_init__(self) -> None:
        for name in ("weight_bits", "activation_bits", "softmax_bits"):
            bits = getattr(self, name)
            if bits != FLOAT_BITS and bits not in range(2, 9):
                raise UserError(f"{name.replace('_', ' ')} {bits} is out of range; give 2 to 8, or 32 for float")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise UserError(
                    f"unknown {name.replace('_', ' ')} {getattr(self, name)!r}; give one of {', '.join(known)}"
                )
        if self.layer_norm == "integer" and self.activation_bits == FLOAT_BITS:
            raise UserError(
                "integer LayerNorm needs quantized activations; use --layer-norm float or fewer activation bits"
            )
        if self.softmax == "log2" and FLOAT_BITS in (self.activation_bits, self.softmax_bits):
            raise UserError("Log-Int-Softmax needs quantized logits and softmax bits 2 to 8; use --softmax uniform")

    @property
    def bits(self) -> str:
        """The short form: ``w4a8``, with ``s4`` when the softmax has bits of its own."""
        text = f"w{self.weight_bits}a{self.activation_bits}"
        return text if self.softmax_bits == self.activation_bits else f"{text}s{self.softmax_bits}"

    def with_bits(self, text: str) -> Scheme:
        """The same scheme at other bit widths.

        Args:
            text: ``w4a8``, or ``w4a8s4`` with bits for the softmax. Without those a uniform softmax gets the bits of
                the activations, and Log-Int-Softmax keeps its own (4 in the preset fq-vit).

        Raises:
            UserError: The text is not of that form, or a bit width is out of range.
        """
        match = re.fullmatch(r"w(\d+)a(\d+)(?:s(\d+))?", text.strip().lower())
        if match is None:
            raise UserError(f"bits {text!r} not understood; write them as w4a8, w8a8, w3a8, w4a32 or w4a8s4")
        weight, activation, softmax = match.groups()
        own = self.softmax_bits if self.softmax == "log2" else activation
        return replace(
            self,
            weight_bits=int(weight),
            activation_bits=int(activation),
            softmax_bits=int(softmax or own),
        )

    def for_graph(self, graph: Graph) -> Scheme:
        """The same scheme with what is ``auto`` in the bias correction decided for a network."""
        if self.bias_correction != "auto":
            return self
        depthwise = any(node.op == "conv2d" and _depthwise(node) for node in graph)
        return replace(self, bias_correction="output" if depthwise else "weight")

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for settings and files."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scheme:
        """The inverse of `to_dict`.

        Raises:
            UserError: A key is unknown.
        """
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown:
            raise UserError(f"unknown part of a quantization scheme: {', '.join(sorted(unknown))}")
        return cls(**data)


def _depthwise(node: Node) -> bool:
    """Whether each output channel reads one input channel through a kernel."""
    weight = node.weight
    return weight is not None and weight.shape[1] == 1 and node.attrs["groups"] > 1


PRESETS: dict[str, Scheme] = {
    "default": Scheme(),
    "fq-vit": Scheme(
        weight_observer="minmax",
        layer_norm="integer",
        softmax="log2",
        softmax_bits=4,
        bias_correction="none",
    ),
    "fq-vit++": Scheme(weight_observer="omse-shared", bias_correction="none"),
    "evolq-script": Scheme(
        weight_observer="minmax",
        layer_norm="integer",
        activation_observer="omse",
        bias_correction="weight",
    ),
}
"""`default` is **ours**; the others are **released**.

`fq-vit` and `fq-vit++` are the two starting points. `evolq-script` is what the shipped script runs: W4A8, PTF, OMSE
activations, bias correction, no Log-Int-Softmax, on the configuration of fq-vit (the script's mode reads that one).
"""


def preset(name: str) -> Scheme:
    """A scheme by name.

    Raises:
        UserError: There is no such preset.
    """
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}; give one of {', '.join(PRESETS)}")
    return PRESETS[name]
