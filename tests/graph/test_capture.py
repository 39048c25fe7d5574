"""A user's own network: what its graph is, and what is said of a network that cannot be taken apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.errors import UserError
from landscape.graph import Graph, capture
from tests.graph.families import double_logits, graph_logits, images, randomize, relative_error

SIZE = 8


class Plain(nn.Module):
    """Convolutions, norms, pooling, element-wise parts, written the way users do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding="same", bias=False), nn.BatchNorm2d(8), nn.SiLU())
        self.left = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.right = nn.Conv2d(8, 8, 1)
        self.norm = nn.GroupNorm(2, 8)
        self.gate = nn.Linear(16, 16)
        self.pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        self.token_norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = functional.relu(self.left(x)) - self.right(x)
        y = functional.max_pool2d(self.norm(y), 3, stride=1, padding=1)
        y = self.pool(torch.cat([y, -x], 1))
        y = y.flatten(2).transpose(1, 2)
        y = self.token_norm(y) * torch.sigmoid(self.gate(y)) * 0.5
        return self.head(y.mean(1) / 2)


def modules(*parts: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return randomize(nn.Sequential(*parts)).requires_grad_(False)


def flat(*parts: nn.Module) -> nn.Module:
    """Parts between a convolution and a classifier."""
    return modules(nn.Conv2d(3, 4, 3, padding=1), *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))


def taken(module: nn.Module) -> Graph:
    return capture(module, (3, SIZE, SIZE))


def assert_same_function(module: nn.Module) -> Graph:
    graph, x = taken(module), images(SIZE, 3)
    assert relative_error(graph_logits(graph, x), double_logits(module, x)) < 1e-12
    return graph


def test_a_users_network_of_plain_parts_is_captured_exactly() -> None:
    torch.manual_seed(0)
    graph = assert_same_function(randomize(Plain()).requires_grad_(False))
    assert [node.name for node in graph.weighted()] == ["stem.0", "left", "right", "gate", "head"]
    assert {"stem.2", "relu", "residual", "norm.layer_norm", "norm.affine", "token_norm", "sigmoid"} <= set(graph.nodes)


@pytest.mark.parametrize(
    "part",
    [
        nn.BatchNorm2d(4),
        nn.GELU(),
        nn.GELU(approximate="tanh"),
        nn.ELU(),
        nn.LeakyReLU(0.2),
        nn.ReLU6(),
        nn.Hardswish(),
        nn.Hardsigmoid(),
        nn.Tanh(),
        nn.Dropout(0.5),
        nn.Identity(),
        nn.AvgPool2d(3, 2, 1),
        nn.MaxPool2d(2),
        nn.ZeroPad2d(2),
        nn.GroupNorm(1, 4),
        nn.Conv2d(4, 4, 3, dilation=2, padding=2),
        nn.AdaptiveAvgPool2d(4),
        nn.LayerNorm(SIZE),
    ],
    ids=lambda part: type(part).__name__,
)
def test_each_plain_part_is_captured_exactly(part: nn.Module) -> None:
    assert_same_function(flat(part))


class Attention(nn.Module):
    """Attention over the pixels by `scaled_dot_product_attention`, with whatever mask."""

    mask: Tensor | None

    def __init__(self, mask: Tensor | None) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(3, 24), nn.Linear(8, 10)
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x.flatten(2).transpose(1, 2)).reshape(x.shape[0], -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=self.mask)
        return self.head(mixed.transpose(1, 2).flatten(2).mean(1))


def attention_masks() -> dict[str, tuple[Tensor | None, list[str]]]:
    """Masks, and the operations between logits and softmax that they become."""
    tokens = SIZE * SIZE
    generator = torch.Generator().manual_seed(0)
    biases = torch.randn(2, tokens, tokens, generator=generator)
    hidden = torch.ones(tokens, tokens).tril() == 0
    return {
        "none": (None, []),
        "boolean": (~hidden, ["mask_add"]),
        "biases": (biases, ["add"]),
        "minus infinity": (torch.where(hidden, float("-inf"), 0.0), ["mask_add"]),
        "both": (torch.where(hidden, float("-inf"), biases), ["add", "mask_add"]),
    }


@pytest.mark.parametrize("kind", attention_masks())
def test_attention_masks_become_what_they_are_biases_or_hidden_tokens(kind: str) -> None:
    mask, expected = attention_masks()[kind]
    torch.manual_seed(0)
    graph = assert_same_function(Attention(mask).eval().requires_grad_(False))
    ops = [node.op for node in graph if node.op not in ("view", "constant")]
    assert ops[ops.index("matmul") + 1 : ops.index("softmax")] == expected


def test_a_batch_norm_that_follows_no_layer_stays_and_is_named() -> None:
    graph = assert_same_function(flat(nn.ReLU(), nn.BatchNorm2d(4), nn.ReLU()))
    assert [(node.name, node.op) for node in graph if node.op == "affine"] == [("2", "affine")]


def test_a_layer_that_is_used_twice_gets_two_names() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.conv_2, self.head = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Linear(3, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv_2(torch.tanh(self.conv(torch.tanh(self.conv(x))))).mean((2, 3)))

    torch.manual_seed(0)
    graph = assert_same_function(Twice().eval().requires_grad_(False))
    assert [node.name for node in graph.weighted()] == ["conv", "conv_2", "conv_2_2", "head"]


class Wrapped(nn.Module):
    """A classifier with one unusual step in a module `step`."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()

        class Step(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return step(x)

        self.step, self.head = Step(), nn.Linear(3 * SIZE * SIZE, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.step(x).flatten(1))


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "unknown operation": (lambda x: torch.cumsum(x, 1), "the operation cumsum"),
    "mean over images": (lambda x: x - x.mean(), "mean over all axes"),
    "sum over images": (lambda x: x + x.sum(0), "sum over images"),
    "softmax over images": (lambda x: x.softmax(0), "softmax over images"),
    "largest of all images": (lambda x: x - x.amax(0), "amax over images"),
    "repeated images": (lambda x: x.repeat(2, 1, 1, 1)[: x.shape[0]], "repeat of images"),
    "products of images with images": (
        lambda x: torch.einsum("nc,mc->nm", x.flatten(1), x.flatten(1)) @ x.flatten(1),
        "multiplies images with images",
    ),
    "a letter twice in a term": (
        lambda x: x + torch.einsum("nchh,cd->ndh", x, torch.eye(3))[..., None],
        "each letter once a term",
    ),
    "a sum within einsum": (
        lambda x: x + torch.einsum("nchw,c->ncw", x, torch.ones(3))[:, :, None],
        "sums along an axis",
    ),
    "an odd power": (lambda x: x.pow(3), "a power other than 2"),
    "a norm of another order": (lambda x: x / torch.linalg.vector_norm(x, 1, 1, True), "a norm of order 1"),
    "rounded division": (lambda x: torch.div(x, 2, rounding_mode="floor"), "rounds its result"),
    "padding with several numbers": (
        lambda x: functional.pad(x, (1, 0, 1, 0), value=1.0)[..., 1:, 1:],
        "constant, 1.0",
    ),
    "windows that count other zeros": (
        lambda x: functional.avg_pool2d(x, 3, 2, 1, divisor_override=2).repeat_interleave(2, 2).repeat_interleave(2, 3),
        "different counts of zeros",
    ),
    "a clamp between values": (lambda x: torch.clamp(x, -x.abs(), x.abs()), "between values"),
    "the places of a maximum": (lambda x: x.max(1)[1].unsqueeze(1) * x, "the places of a maximum"),
    "softplus of its own": (lambda x: functional.softplus(x, 2.0), "softplus with beta"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_taken_apart_is_named_with_its_module_and_what_it_needs(kind: str) -> None:
    step, words = REFUSED[kind]
    with pytest.raises(UserError) as error:
        taken(Wrapped(step).eval())
    message = str(error.value)
    assert words in message and "module 'step' (Step)" in message and "\n" not in message


def test_padding_with_minus_infinity_is_refused_unless_a_maximum_pool_reads_it() -> None:
    def step(x: Tensor) -> Tensor:
        return functional.pad(x, (0, 1, 0, 1), value=float("-inf"))[..., :SIZE, :SIZE]

    with pytest.raises(UserError, match=r"minus infinity other than before a maximum pool, in module 'step'"):
        taken(Wrapped(step).eval())


def test_an_unknown_operation_says_where_it_would_be_added() -> None:
    with pytest.raises(UserError, match=r"needs an entry in landscape/graph/operators.py"):
        taken(Wrapped(lambda x: torch.cumsum(x, 1)).eval())


def test_recurrent_networks_are_refused_by_name() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(SIZE, 10, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x[:, 0])[0][:, -1]

    with pytest.raises(UserError, match=r"cannot quantize.*'rnn' \(LSTM\)"):
        taken(Recurrent().eval())


def test_a_computation_that_depends_on_pixel_values_is_refused() -> None:
    def step(x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x

    with pytest.raises(UserError, match="must not depend on pixel values"):
        taken(Wrapped(step).eval())


def test_training_mode_is_refused() -> None:
    with pytest.raises(UserError, match=r"call .eval\(\)"):
        taken(flat(nn.ReLU()).train())


def test_outputs_that_are_no_logits_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.flatten(1), x.flatten(1)

    with pytest.raises(UserError, match="more than one tensor"):
        taken(Two().eval())
    with pytest.raises(UserError, match=r"tensor with 4 axes.*logits"):
        taken(modules(nn.Conv2d(3, 10, 1)))
