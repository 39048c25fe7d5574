"""Curvature of the float network over the weights of some layers, and over the scales that move those weights.

The operators over weights are those of curvlinops (extra ``curvature``).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor, nn

from landscape.curvature.operator import load_forward_rules
from landscape.engine.reference import FloatPass
from landscape.errors import UserError
from landscape.gradient.estimate import DTYPES
from landscape.gradient.surrogate import cast_graph, unary
from landscape.graph import Graph, Node
from landscape.losses import Outputs, loss_function
from landscape.quant.qparams import channel_view

if TYPE_CHECKING:
    from landscape.problem import Problem

FloatArray = npt.NDArray[np.float64]
Batch = tuple[dict[str, Tensor], Tensor]

ROWS = 4
"""Images at a time."""

ROWS_KEY = "#images"
"""Under this key a batch holds the indices of its images."""


class FloatBlock(nn.Module):
    """The float network from the first of some layers on, as a module whose parameters are these layers' weights.

    Args:
        problem: Network and images.
        layers: Names of linear layers or convolutions.
        images: The first so many; all if None.
        dtype: ``float64`` or ``float32``.

    Attributes:
        layers: As given.
        batches: What it reads (values before the first of the layers) and the indices of the images.
    """

    def __init__(
        self, problem: Problem, layers: Sequence[str], images: int | None = None, dtype: str = "float64"
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.dtype = DTYPES[dtype]
        self._pass = _Pass(cast_graph(problem.network.graph, self.dtype))
        graph = self._pass.graph
        changing = graph.downstream(self.layers)
        self._nodes = [node for node in graph if node.name in changing]
        self.weights = nn.ParameterList([nn.Parameter(_weight(graph[layer]).clone()) for layer in self.layers])
        self._constants: dict[str, Tensor] = {}
        self.batches = self._read(problem, changing, len(problem.images) if images is None else images)

    def _read(self, problem: Problem, changing: set[str], images: int) -> list[Batch]:
        graph = problem.network.graph
        border = {name for node in self._nodes for name in node.inputs if name not in changing}
        shared = _needed(graph, {node.name for node in graph} - changing, border)
        plain, batches = FloatPass(graph), []
        for start in range(0, images, ROWS):
            rows = torch.arange(start, min(start + ROWS, images))
            values = {"input": problem.images.normalized(rows, torch.float64)}
            for node in shared:
                if node.op != "input":
                    values[node.name] = plain.apply(node, [values[name] for name in node.inputs], len(rows))
            kept = {name: values[name].to(self.dtype) for name in border}
            self._constants.update({name: kept.pop(name) for name in border if graph[name].op == "constant"})
            batches.append(({**kept, ROWS_KEY: rows}, rows))
        return batches

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (images, classes) of a batch."""
        values = {**self._constants, **{name: value for name, value in batch.items() if name != ROWS_KEY}}
        self._pass.replaced = dict(zip(self.layers, self.weights, strict=True))
        for node in self._nodes:
            values[node.name] = self._pass.apply(node, [values[name] for name in node.inputs], len(batch[ROWS_KEY]))
        return values[self._pass.graph.output]

    def moved_losses(self, changes: Sequence[Tensor], loss: RowLoss) -> Tensor:
        """Losses of the single images with changed weights, float64 (changes, images).

        Args:
            changes: Of all weights one after another, each (parameters,).
            loss: Which.
        """
        with torch.no_grad():
            original = [weight.clone() for weight in self.weights]
            found = []
            for change in changes:
                parts = torch.split(change, [weight.numel() for weight in original])
                for weight, old, part in zip(self.weights, original, parts, strict=True):
                    weight.copy_(old + part.reshape(old.shape).to(old.dtype))
                found.append(torch.cat([loss.single(self(batch).double(), rows) for batch, rows in self.batches]))
            for weight, old in zip(self.weights, original, strict=True):
                weight.copy_(old)
        return torch.stack(found)


class RowLoss(nn.Module):
    """A loss of the problem as curvlinops wants it: the mean over the images of a batch.

    InfoNCE contrasts each image with the teacher's logits of its own 100, whichever images share the batch.
    """

    reduction = "mean"

    def __init__(self, problem: Problem, loss: str) -> None:
        super().__init__()
        self._problem, self._function = problem, loss_function(loss)

    def single(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The losses of the images `rows`, float64 (rows,)."""
        problem = self._problem
        whole = problem.teacher.index_copy(0, rows, logits.double())
        return self._function(Outputs(whole, problem.images.labels, problem.teacher, problem.loss_options))[rows]

    def forward(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Their mean."""
        return self.single(logits, rows).mean().to(logits.dtype)


def weight_curvature(block: FloatBlock, loss: RowLoss, kind: str = "hessian") -> LinearOperator:
    """The Hessian or GGN of the mean loss over the weights of a block, at the float weights, by curvlinops.

    Args:
        block: The layers, and the images.
        loss: Which loss.
        kind: ``hessian`` or ``ggn`` (for ``loss``, the cross-entropy, the GGN is the Fisher information).

    Returns:
        float64 (parameters, parameters), the weights one after another.

    Raises:
        UserError: curvlinops is missing, or the kind is another.
    """
    curvlinops = _curvlinops()
    load_forward_rules()
    kinds = {"hessian": curvlinops.HessianLinearOperator, "ggn": curvlinops.GGNLinearOperator}
    if kind not in kinds:
        raise UserError(f"unknown kind of curvature {kind!r} over weights; give one of {', '.join(kinds)}")
    operator = kinds[kind](
        block,
        loss,
        list(block.weights),
        block.batches,
        check_deterministic=False,
        num_data=sum(len(rows) for _, rows in block.batches),
        batch_size_fn=lambda batch: len(batch[ROWS_KEY]),
    )
    scipy: LinearOperator = operator.to_scipy()
    size = scipy.shape[0]
    return LinearOperator(
        (size, size), matvec=lambda v: np.asarray(scipy @ v.astype(scipy.dtype).ravel(), np.float64), dtype=np.float64
    )


def scale_jacobian(problem: Problem, point: Tensor, layers: Sequence[str]) -> LinearOperator:
    """How relative coordinates move dequantized weights with frozen codes: dw/de = s (q - z), row by row.

    This is the derivative without weight correction (which would cancel it).

    Returns:
        float64 (weights of `layers`, their scales).
    """
    network = problem.network.with_scales(problem.space.scales(point))
    slopes = []
    for layer in layers:
        quantizer, weight = network.weights[layer], _weight(network.graph[layer])
        axes = weight.ndim
        centred = quantizer.codes(weight) - channel_view(quantizer.zero_point, axes, 0)
        slopes.append((centred * channel_view(quantizer.scale, axes, 0)).flatten(1).numpy())
    rows = np.cumsum([0, *(len(slope) for slope in slopes)])
    sizes = np.cumsum([0, *(slope.size for slope in slopes)])

    def forward(e: FloatArray) -> FloatArray:
        e = e.ravel()
        return np.concatenate([(s * e[a:b, None]).ravel() for s, a, b in zip(slopes, rows, rows[1:], strict=False)])

    def backward(w: FloatArray) -> FloatArray:
        w = w.ravel()
        parts = zip(slopes, sizes, sizes[1:], strict=False)
        return np.concatenate([(s * w[a:b].reshape(s.shape)).sum(1) for s, a, b in parts])

    return LinearOperator((int(sizes[-1]), int(rows[-1])), matvec=forward, rmatvec=backward, dtype=np.float64)


def scale_curvature(problem: Problem, point: Tensor, over_weights: LinearOperator, layers: Sequence[str]) -> Any:
    """The curvature that scales see through the weights that they move: J^T H J, float64 (scales, scales).

    With the slope, it is the second-order estimate of the loss increase of BRECQ and its kin, over scales.
    """
    jacobian = scale_jacobian(problem, point, layers)
    return jacobian.T @ over_weights @ jacobian


def moving_layers(problem: Problem) -> tuple[str, ...]:
    """Layers whose weight scales may move, in the order of the point.

    Raises:
        UserError: There are none.
    """
    layers = tuple(name.removesuffix(".weight") for name in problem.space.names if name.endswith(".weight"))
    if not layers:
        raise UserError("no weight scales may move; curvature of the float network needs --which weight or both")
    return layers


class _Pass(FloatPass):
    """The float pass in PyTorch throughout, with some weights replaced."""

    def __init__(self, graph: Any) -> None:
        super().__init__(graph)
        self.replaced: dict[str, Tensor] = {}
        self._operations["unary"] = unary

    def weight(self, node: Node) -> Tensor:
        """The replaced weight, or the node's own."""
        return self.replaced[node.name] if node.name in self.replaced else super().weight(node)


def _weight(node: Node) -> Tensor:
    assert node.weight is not None, node.name
    return node.weight


def _curvlinops() -> Any:
    try:
        with warnings.catch_warnings():  # what its own dependencies use of PyTorch is no business of the user
            warnings.simplefilter("ignore", FutureWarning)
            import curvlinops
    except ImportError as error:
        raise UserError(
            "curvature of the float network needs curvlinops; pip install 'evolq-landscape[curvature]'"
        ) from error
    return curvlinops


def _needed(graph: Graph, among: set[str], wanted: set[str]) -> list[Node]:
    """Of some nodes those that the wanted ones depend on, in order."""
    reached = set(wanted)
    for node in reversed(list(graph)):
        if node.name in reached:
            reached.update(node.inputs)
    return [node for node in graph if node.name in reached and node.name in among]
