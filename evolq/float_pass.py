"""The float network in float32, differentiable: statistics of what its layers read, weighted by what that matters.

The exact engine defines values; these statistics only propose points that are then measured exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from landscape.engine.reference import FloatPass
from landscape.gradient.surrogate import UNARY
from landscape.graph import Graph, Node
from landscape.images import ImageSet
from landscape.losses import Outputs, loss_function
from landscape.problem import Problem

BATCH = 20
"""Images at a time."""


@dataclass(frozen=True)
class LayerBatch:
    """What one layer reads and what its outputs matter, for a batch.

    Attributes:
        node: The layer.
        inputs: What each output position reads, float32 (groups, rows, in): rows are images times positions.
        gradients: Derivative of the sum of -log p(label) with respect to the outputs, float32 (groups, rows,
            out / groups), labels drawn from the network's own p; None where it was not asked for.
    """

    node: Node
    inputs: Tensor
    gradients: Tensor | None


class DifferentiablePass(FloatPass):
    """`FloatPass` in float32, whose activation functions PyTorch can differentiate.

    Args:
        graph: The float network.
        weights: What stands in place of the layers' own weights, float32, by layer.
    """

    def __init__(self, graph: Graph, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(_single(graph))
        self._operations["unary"] = _unary
        self._replaced = dict(weights or {})

    def weight(self, node: Node) -> Tensor:
        """The weight that a layer multiplies with."""
        found = self._replaced.get(node.name)
        return super().weight(node) if found is None else found


def layer_batches(graph: Graph, images: ImageSet, gradients: bool, seed: int = 0) -> Iterator[list[LayerBatch]]:
    """Inputs of all layers, and optionally Fisher gradients at their outputs, some images at a time.

    The labels of the Fisher information are drawn from softmax(logits), so the mean of the squared gradients is
    unbiased for the diagonal of the cross-entropy's Gauss-Newton matrix (Martens 2020, arXiv 1412.1193, section 9).

    Args:
        graph: The float network.
        images: N images.
        gradients: Whether gradients are wanted; a backward pass.
        seed: Of the labels.

    Yields:
        One entry for each layer with a weight, in the order of computation, for each batch of images.
    """
    passed = DifferentiablePass(graph)
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(images), BATCH):
        rows = images.normalized(slice(start, start + BATCH), torch.float32)
        yield _layers_of_batch(passed, rows, gradients, generator)


def _layers_of_batch(
    passed: DifferentiablePass, images: Tensor, gradients: bool, generator: torch.Generator
) -> list[LayerBatch]:
    """One batch of `layer_batches`; a function of its own, so that its graph is gone before the next one is made."""
    with torch.set_grad_enabled(gradients):
        inputs, outputs, logits = _forward(passed, images)
        found: Sequence[Tensor | None] = [None] * len(outputs)
        if gradients:
            loss = _own_likelihood(logits, generator)
            found = torch.autograd.grad(loss, list(outputs.values()), allow_unused=True)
    return [
        LayerBatch(passed.graph[name], _windows(passed.graph[name], inputs[name]), _rows(passed.graph[name], slope))
        for name, slope in zip(outputs, found, strict=True)
    ]


def node_batches(
    graph: Graph, images: ImageSet, names: Sequence[str], seed: int = 0
) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Values of nodes, and the derivative of the sum of -log p(label) there, some images at a time.

    Args:
        graph: The float network.
        images: N images.
        names: Of nodes.
        seed: Of the labels; see `layer_batches`.

    Yields:
        Value and derivative by name, float32, the images first.
    """
    passed = DifferentiablePass(graph)
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(images), BATCH):
        rows = images.normalized(slice(start, start + BATCH), torch.float32).requires_grad_()
        yield _values_and_slopes(passed, rows, names, generator)


def _values_and_slopes(
    passed: DifferentiablePass, images: Tensor, names: Sequence[str], generator: torch.Generator
) -> dict[str, tuple[Tensor, Tensor]]:
    """One batch of `node_batches`; a function of its own, so that its graph is gone before the next one is made."""
    values = _all_values(passed, images, set(names))
    kept = [values[name] for name in names]
    slopes = torch.autograd.grad(_own_likelihood(values[passed.graph.output], generator), kept)
    return {name: (value.detach(), slope) for name, value, slope in zip(names, kept, slopes, strict=True)}


def weight_gradients(
    problem: Problem, weights: Mapping[str, Tensor], rows: Sequence[int], loss: str
) -> dict[str, Tensor]:
    """The derivative of the mean loss with respect to weights, activations not quantized.

    Where weights have few bits and activations eight, nearly all of the error is the weights', and this derivative is
    close to that of the quantized network; it takes an ordinary backward pass in float32.

    Args:
        problem: Network, images, teacher and losses.
        weights: What stands in place of the layers' weights, float32, by layer.
        rows: Indices of the images that the mean is over.
        loss: Name of the loss; infoNCE contrasts each image with the teacher's logits of its whole batch.

    Returns:
        Of the shapes of `weights`.
    """
    leaves = {layer: weight.clone().requires_grad_() for layer, weight in weights.items()}
    passed = DifferentiablePass(problem.network.graph, leaves)
    total = {layer: torch.zeros_like(weight) for layer, weight in weights.items()}
    for start in range(0, len(rows), BATCH):
        losses = _losses(problem, passed, torch.tensor(list(rows[start : start + BATCH])), loss)
        parts = torch.autograd.grad(losses.sum() / len(rows), list(leaves.values()))
        del losses  # and its graph, before the next one is made
        for layer, part in zip(leaves, parts, strict=True):
            total[layer] += part
    return total


def _losses(problem: Problem, passed: DifferentiablePass, chosen: Tensor, loss: str) -> Tensor:
    """The losses of some images, float64 (images,)."""
    images = problem.images.normalized(chosen, torch.float32)
    logits = _all_values(passed, images, set())[problem.network.graph.output]
    every = problem.teacher.index_copy(0, chosen, logits.double())
    outputs = Outputs(every, problem.images.labels, problem.teacher, problem.loss_options)
    return loss_function(loss)(outputs)[chosen]


def _all_values(passed: DifferentiablePass, images: Tensor, keep: set[str]) -> dict[str, Tensor]:
    graph = passed.graph
    last = {name: node.name for node in graph for name in node.inputs}
    values: dict[str, Tensor] = {}
    for node in graph:
        arguments = [values[name] for name in node.inputs]
        values[node.name] = images if node.op == "input" else passed.apply(node, arguments, images.shape[0])
        for name in set(node.inputs):
            if last[name] == node.name and name not in keep:
                del values[name]
    return values


def _forward(passed: DifferentiablePass, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    graph = passed.graph
    last = {name: node.name for node in graph for name in node.inputs}
    values: dict[str, Tensor] = {}
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    for node in graph:
        arguments = [values[name] for name in node.inputs]
        values[node.name] = images if node.op == "input" else passed.apply(node, arguments, images.shape[0])
        if node.weight is not None and node.op in ("linear", "conv2d"):
            if torch.is_grad_enabled() and not values[node.name].requires_grad:
                values[node.name].requires_grad_()
            inputs[node.name], outputs[node.name] = arguments[0].detach(), values[node.name]
        for name in set(node.inputs):
            if last[name] == node.name:
                del values[name]
    return inputs, outputs, values[graph.output]


def _own_likelihood(logits: Tensor, generator: torch.Generator) -> Tensor:
    chances = functional.log_softmax(logits, 1)
    labels = torch.multinomial(chances.detach().exp(), 1, generator=generator)
    return -chances.gather(1, labels).sum()


def _windows(node: Node, x: Tensor) -> Tensor:
    """What each output position reads, (groups, rows, in)."""
    assert node.weight is not None
    if node.op == "linear":
        return x.reshape(1, -1, x.shape[-1])
    a = node.attrs
    padding, groups = a["padding"], a["groups"]
    size = node.weight.shape[-2:]
    columns = functional.unfold(x, size, a["dilation"], padding, a["stride"])  # (N, channels * kernel, positions)
    split = columns.reshape(x.shape[0], groups, -1, columns.shape[-1])
    return split.permute(1, 0, 3, 2).reshape(groups, -1, split.shape[2])


def _rows(node: Node, gradient: Tensor | None) -> Tensor | None:
    """Gradients at a layer's outputs, (groups, rows, out / groups)."""
    if gradient is None:
        return None
    if node.op == "linear":
        return gradient.reshape(1, -1, gradient.shape[-1])
    groups = node.attrs["groups"]
    split = gradient.reshape(gradient.shape[0], groups, -1, *gradient.shape[2:]).flatten(3)
    return split.permute(1, 0, 3, 2).reshape(groups, -1, split.shape[2])


def _unary(node: Node, values: Any) -> Tensor:
    options: Mapping[str, Any] = {key: value for key, value in node.attrs.items() if key != "function"}
    function: Callable[..., Tensor] = UNARY[node.attrs["function"]]
    return function(values[0], **options)


def _single(graph: Graph) -> Graph:
    def cast(value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value

    nodes = {
        node.name: replace(
            node,
            weight=cast(node.weight),
            bias=cast(node.bias),
            attrs={key: cast(value) for key, value in node.attrs.items()},
        )
        for node in graph
    }
    return replace(graph, nodes=nodes)
