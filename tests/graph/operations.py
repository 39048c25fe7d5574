"""Operations between a convolution and a classifier, one network for each: what graphs and engines are tested on."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.graph.families import randomize

SIZE, CHANNELS = 8, 4
Step = Callable[[Tensor], Tensor]


_GENERATOR = torch.Generator().manual_seed(3)
_ROW = torch.randn(SIZE, generator=_GENERATOR)
_BY_CHANNEL = torch.randn(CHANNELS, 1, 1, generator=_GENERATOR)
_TABLE = torch.randn(CHANNELS, SIZE, SIZE, generator=_GENERATOR)
_MIXING = torch.randn(CHANNELS, 5, generator=_GENERATOR)


def _attention_over_channels(x: Tensor) -> Tensor:
    """As XCiT and Swin V2: the cosines of queries and keys."""
    tokens = x.flatten(2)
    cosines = functional.normalize(tokens, dim=-1) @ functional.normalize(tokens.flip(-1), dim=-1).transpose(1, 2)
    return (cosines * 3.0).softmax(-1) @ tokens


def _linear_attention(x: Tensor) -> Tensor:
    """As EfficientViT: sums of values and of weights, the one over the other."""
    tokens = x.flatten(2).relu()
    values = functional.pad(tokens, (0, 0, 0, 1), value=1.0)
    mixed = (values @ tokens.transpose(1, 2)) @ tokens
    return mixed[:, :-1] / (mixed[:, -1:] + 1e-3)


def _written_in_place(x: Tensor) -> Tensor:
    y = x * 2
    y[:, 1:3, 2:] += x[:, :2, 2:].sigmoid()
    y[..., :5] = x[..., 3:].tanh()
    y[:, -1].add_(x[:, 0])
    return y


def _seen_through_a_view(x: Tensor) -> Tensor:
    y = x * 2
    part = y[:, :2]
    y += 1
    return torch.cat([part, y], 1)


def _positions(x: Tensor) -> Tensor:
    """Constants made for as many images as there are."""
    rows = torch.zeros(x.shape[0], SIZE, SIZE, dtype=torch.bool).logical_not().cumsum(1, dtype=torch.float32)
    return x + torch.stack([(rows / 3).sin(), (rows / 3).cos()], -1).flatten(2)[..., :SIZE].unsqueeze(1)


def _rotated(x: Tensor) -> Tensor:
    """As rotary position embeddings."""
    angles = torch.outer(torch.arange(SIZE, dtype=torch.float32), 10.0 ** -torch.arange(0, 1, 2 / SIZE))
    angles = angles.repeat_interleave(2, -1)
    turned = torch.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)
    return x * angles.cos() + turned * angles.sin()


def _in_half_precision_where_there_is_any(x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return torch.relu(x * 3)


def _relative_logits(x: Tensor) -> Tensor:
    """As HaloNet and BoTNet: rows shifted against each other by padding and cutting, images spread over rows."""
    rows = x.reshape(-1, SIZE, SIZE)
    rows = functional.pad(functional.pad(rows, (0, 1)).flatten(1), (0, SIZE + 1)).reshape(-1, SIZE + 1, SIZE + 1)
    return rows[:, :SIZE, 2:].reshape(x.shape[0], CHANNELS, -1)


OPERATIONS: dict[str, Step] = {
    "a value plus a number": lambda x: x + 0.5,
    "one minus a value": lambda x: 1 - x.sigmoid(),
    "nothing added": lambda x: (x + 0.0).relu(),
    "alpha": lambda x: torch.add(x, x.flip(-1), alpha=-0.5),
    "a value minus a constant": lambda x: x - _TABLE[:, :1],
    "a value over a constant": lambda x: x / (_ROW.abs() + 1),
    "a value over constants by channel": lambda x: x / (_BY_CHANNEL.abs() + 1),
    "a value over a table": lambda x: x / (_TABLE.abs() + 1),
    "a value over a value": lambda x: x / (1 + x.sigmoid()),
    "a number over a value": lambda x: 2 / (1 + x.square()),
    "addcmul": lambda x: torch.addcmul(x, x.sigmoid(), x.flip(2), value=0.5),
    "cosine attention": _attention_over_channels,
    "linear attention": _linear_attention,
    "a value over another norm": lambda x: x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1),
    "rms norm": lambda x: functional.rms_norm(x, (SIZE,), _ROW.to(x), 1e-6),
    "rms norm by hand": lambda x: x * (x.pow(2).mean(1, keepdim=True) + 1e-3).rsqrt(),
    "sum": lambda x: x.sum((2, 3)),
    "square root": lambda x: x.abs().sqrt(),
    "powers": lambda x: (x.pow(2) + 1).pow(-0.5) * (x.pow(2) + 2).pow(-1) * x.pow(2).pow(0.5),
    "clamp": lambda x: x.clamp(-0.25, 0.5) + x.clamp(max=0.125) + x.clamp(0, 6) + x.clamp(min=0),
    "hardtanh": lambda x: functional.hardtanh(x),
    "softplus": functional.softplus,
    "mish": functional.mish,
    "exponential": lambda x: torch.exp(-x.abs()),
    "softmax over channels": lambda x: x.softmax(1),
    "softmax over rows": lambda x: x.softmax(2) * x,
    "masked logits": lambda x: x.masked_fill(torch.ones(SIZE, SIZE).triu(1) > 0, float("-inf")).softmax(-1),
    "einsum with a constant": lambda x: torch.einsum("nchw,cd->ndwh", x, _MIXING.to(x)),
    "einsum of two values": lambda x: torch.einsum("nchw,nkhv->nchkwv", x[:, :2], x[:, 2:]),
    "stack": lambda x: torch.stack([x, x.sigmoid()], 2).flatten(1, 2),
    "repeat": lambda x: x.repeat(1, 2, 1, 1).repeat_interleave(2, dim=2),
    "expand": lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, 3, 3),
    "largest": lambda x: x.amax((2, 3)) + x.max(-1)[0].amax(2),
    "largest of windows": lambda x: functional.adaptive_max_pool2d(x, (2, 4)),
    "variance": lambda x: x / (x.var((2, 3), keepdim=True, unbiased=False) + 0.1).sqrt() + x.std(1, keepdim=True),
    "the larger and the smaller": lambda x: torch.maximum(x, _TABLE) + torch.minimum(x.flip(1), x * 0.5),
    "rms norm of rows": lambda x: functional.rms_norm(x.flatten(2), (SIZE * SIZE,), eps=1e-3),
    "pixel shuffle": lambda x: functional.pixel_shuffle(x, 2),
    "shares of a pool at the edges": lambda x: functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
    "a pool beyond the edge": lambda x: functional.avg_pool2d(x, 3, 2, ceil_mode=True),
    "a pool of rows": lambda x: functional.avg_pool1d(x.flatten(2), 4, 2, 1),
    "unequal windows": lambda x: functional.adaptive_avg_pool2d(x, (5, 3)),
    "nearest": lambda x: functional.interpolate(x, scale_factor=2, mode="nearest"),
    "nearest, smaller": lambda x: functional.interpolate(x, size=(5, 3), mode="nearest"),
    "bilinear": lambda x: functional.interpolate(x, scale_factor=1.5, mode="bilinear"),
    "bilinear, corners aligned": lambda x: functional.interpolate(x, size=(5, 13), mode="bilinear", align_corners=True),
    "bicubic": lambda x: functional.interpolate(x, size=(13, 5), mode="bicubic"),
    "bicubic, smoothed": lambda x: functional.interpolate(x, size=(5, 5), mode="bicubic", antialias=True),
    "unfold": lambda x: functional.unfold(x, (3, 2), (1, 2), (1, 0), (2, 1)),
    "windows summed": lambda x: functional.fold(functional.unfold(x, 3, padding=1, stride=2), (SIZE, SIZE), 3, 1, 1, 2),
    "windows of an axis": lambda x: x.unfold(2, 4, 2).unfold(3, 4, 3),
    "reflection": lambda x: functional.pad(x, (1, 2, 3, 0), mode="reflect"),
    "edges repeated": lambda x: functional.pad(x, (1, 2, 0, 1), mode="replicate"),
    "wrapped around": lambda x: functional.pad(x, (1, 2, 0, 1), mode="circular"),
    "padding below a maximum": lambda x: functional.max_pool2d(
        functional.pad(x, (0, 1, 1, 1), value=float("-inf")), 3, 2
    ),
    "slices written in place": _written_in_place,
    "a change in place, seen through a view": _seen_through_a_view,
    "constants for every image": _positions,
    "rotary embedding": _rotated,
    "factors and an activation function": lambda x: functional.gelu(x.sigmoid() * _BY_CHANNEL + 0.25),
    "factors of rows": lambda x: functional.gelu(x.flatten(2).sigmoid() * _TABLE.flatten(1)[0]),
    "negatives and halves": lambda x: (0.5 * x.sigmoid() - x).flatten(2) @ -x.sigmoid().flatten(2).transpose(1, 2),
    "a sum and an activation function": lambda x: functional.gelu(x.sigmoid() + x.flip(2)),
    "a product and an activation function": lambda x: functional.silu(x.sigmoid() * x.flip(2)),
    "products with rows and columns": lambda x: x.sigmoid() * _ROW * _ROW[:, None] + x * x.mean((2, 3), keepdim=True),
    "joined channels": lambda x: torch.cat([x.sigmoid(), x.flip(2), x[:, :1]], 1),
    "joined rows before a norm": lambda x: functional.layer_norm(
        torch.cat([x.flatten(1, 2), x.sigmoid().flatten(1, 2)], 1), (SIZE,)
    ),
    "interleaved": lambda x: torch.stack([x.sigmoid(), -x.flip(3)], -1).flatten(-2) + _TABLE.repeat(1, 1, 2),
    "autocast": _in_half_precision_where_there_is_any,
    "shifted rows": _relative_logits,
}
"""By what they do; each takes (N, `CHANNELS`, `SIZE`, `SIZE`)."""


class _Convolved(nn.Module):
    """A convolution of one dimension, and one that makes an image larger, between others."""

    def __init__(self) -> None:
        super().__init__()
        self.along = nn.Conv1d(CHANNELS, CHANNELS, 5, padding=2, groups=2)
        self.planes = nn.Conv3d(1, 2, (3, 1, 5), padding=(1, 0, 2))
        self.up = nn.ConvTranspose2d(CHANNELS, 6, (3, 2), 2, (1, 0), (1, 0), groups=2, dilation=(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        """As the steps."""
        x = self.along(x.flatten(2)).reshape(x.shape)
        x = self.planes(x.unsqueeze(1))[:, 1]
        return torch.as_tensor(self.up(x).relu())


class Stepped(nn.Module):
    """A convolution, a step, a classifier of 10."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.conv, self.step = nn.Conv2d(3, CHANNELS, 3, padding=1), step
        with torch.no_grad():
            inputs = step(torch.zeros(1, CHANNELS, SIZE, SIZE)).numel()
        self.head = nn.Linear(inputs, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, 3, `SIZE`, `SIZE`)."""
        return torch.as_tensor(self.head(self.step(self.conv(x)).flatten(1)))


@functools.cache
def stepped(name: str) -> nn.Module:
    """A network with seeded random weights, with one of `OPERATIONS`, or "convolutions"; not to be changed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Stepped(_Convolved() if name == "convolutions" else OPERATIONS[name])
    return randomize(module).requires_grad_(False)


STEPPED = (*OPERATIONS, "convolutions")
"""Names of the networks."""
