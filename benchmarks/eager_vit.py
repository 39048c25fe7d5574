"""The baseline: float32 fake quantization of a timm vision transformer, written the usual way.

Every forward pass quantizes and dequantizes all weights anew (the scales are found already), corrects their bias, and
quantizes and dequantizes the value of every operation, as the released code does. Scales come from the same
calibration as the engines' network, so both compute the same thing, up to float32 rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from landscape.quant.network import QuantizedNetwork


class FakeQuantizer(nn.Module):
    """Round to codes and back, in float32.

    Args:
        scale: Broadcastable to the value.
        zero_point: Likewise.
        bits: Of the codes.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, scale: Tensor, zero_point: Tensor, bits: int) -> None:
        super().__init__()
        self.highest = 2**bits - 1
        self.register_buffer("scale", scale.float())
        self.register_buffer("zero_point", zero_point.float())

    def forward(self, x: Tensor) -> Tensor:
        """The value that the codes stand for."""
        codes = (x / self.scale + self.zero_point).round().clamp(0, self.highest)
        return (codes - self.zero_point) * self.scale


def corrected(weight: Tensor, quantized: Tensor) -> Tensor:
    """A quantized weight with each output channel's mean and standard deviation restored (released bias correction)."""
    axes = tuple(range(1, weight.ndim))
    quantized = quantized * (weight.std(axes, keepdim=True) / (quantized.std(axes, keepdim=True) + 1e-8))
    return quantized + weight.mean(axes, keepdim=True) - quantized.mean(axes, keepdim=True)


class FakeQuantizedLayer(nn.Module):
    """A linear layer or convolution whose weight is quantized in every forward pass.

    Args:
        layer: The float layer.
        quantizer: Of the weight, per output channel.
        corrected: Whether each channel's mean and standard deviation are restored (released bias correction).
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, quantizer: FakeQuantizer, corrected: bool) -> None:
        super().__init__()
        self.layer, self.quantizer, self.corrected = layer, quantizer, corrected

    def _weight(self) -> Tensor:
        quantized: Tensor = self.quantizer(self.layer.weight)
        return corrected(self.layer.weight, quantized) if self.corrected else quantized

    def forward(self, x: Tensor) -> Tensor:
        """The layer with its quantized weight."""
        if isinstance(self.layer, nn.Linear):
            return functional.linear(x, self._weight(), self.layer.bias)
        return functional.conv2d(x, self._weight(), self.layer.bias, self.layer.stride)


class FakeQuantizedViT(nn.Module):
    """A plain timm vision transformer (DeiT, ViT) with a fake quantizer behind every operation.

    Args:
        vit: The float network; its layers are used, not copied.
        network: The same network, calibrated: where the scales come from.
    """

    def __init__(self, vit: VisionTransformer, network: QuantizedNetwork) -> None:
        super().__init__()
        self.vit, self.network = vit, network
        self.quantizers = nn.ModuleDict(
            {name.replace(".", "/"): self._activation(name) for name in network.activations}
        )
        self.layers = nn.ModuleDict({name.replace(".", "/"): self._layer(name) for name in network.weights})

    def _activation(self, name: str) -> FakeQuantizer:
        found = self.network.activations[name]
        factors = found.factors(3)
        return FakeQuantizer(found.scale if factors is None else found.scale * factors, found.zero_point, found.bits)

    def _layer(self, name: str) -> FakeQuantizedLayer:
        layer, found = self.vit.get_submodule(name), self.network.weights[name]
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        shape = (-1, *[1] * (layer.weight.ndim - 1))
        quantizer = FakeQuantizer(found.scale.reshape(shape), found.zero_point.reshape(shape), found.bits)
        return FakeQuantizedLayer(layer, quantizer, self.network.scheme.bias_correction == "weight")

    def _quantize(self, name: str, x: Tensor) -> Tensor:
        key = name.replace(".", "/")
        quantized: Tensor = self.quantizers[key](x) if key in self.quantizers else x
        return quantized

    def _apply_layer(self, name: str, x: Tensor) -> Tensor:
        return self._quantize(name, self.layers[name.replace(".", "/")](x))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, C, H, W), float32."""
        vit: Any = self.vit  # timm leaves the types of its parts open
        x = self._apply_layer("patch_embed.proj", self._quantize("input", images)).flatten(2).transpose(1, 2)
        x = self._quantize("cat", torch.cat([vit.cls_token.expand(x.shape[0], -1, -1), x], 1))
        x = self._quantize("add_pos_embed", x + self._quantize("pos_embed", vit.pos_embed))
        for index in range(len(vit.blocks)):
            x = self._block(f"blocks.{index}", x)
        return self._apply_layer("head", self._quantize("norm", vit.norm(x))[:, 0])

    def _block(self, name: str, x: Tensor) -> Tensor:
        block: Any = self.vit.get_submodule(name)
        attended = self._attention(f"{name}.attn", self._quantize(f"{name}.norm1", block.norm1(x)))
        x = self._quantize(f"{name}.residual", x + attended)
        hidden = self._apply_layer(f"{name}.mlp.fc1", self._quantize(f"{name}.norm2", block.norm2(x)))
        hidden = self._quantize(f"{name}.mlp.act", block.mlp.act(hidden))
        return self._quantize(f"{name}.residual_2", x + self._apply_layer(f"{name}.mlp.fc2", hidden))

    def _attention(self, name: str, x: Tensor) -> Tensor:
        attention: Any = self.vit.get_submodule(name)
        batch, tokens, width = x.shape
        parts = self._apply_layer(f"{name}.qkv", x).reshape(batch, tokens, 3, attention.num_heads, attention.head_dim)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        logits = self._quantize(f"{name}.logits", query @ key.transpose(-2, -1) * attention.scale)
        chances = self._quantize(f"{name}.softmax", logits.softmax(-1))
        mixed = self._quantize(f"{name}.output", chances @ value).transpose(1, 2).reshape(batch, tokens, width)
        return self._apply_layer(f"{name}.proj", mixed)
