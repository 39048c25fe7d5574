"""Curvature of the straight-through surrogate over the scales that may move, as a linear operator."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor
from torch.autograd import forward_ad

from landscape.errors import UserError
from landscape.gradient.estimate import Operands, SurrogatePasses, add

if TYPE_CHECKING:
    from landscape.problem import Problem

KINDS = ("hessian", "ggn", "fisher")

PRODUCT_COST = {"hessian": 6, "ggn": 4, "fisher": 4}
"""Passes through the network that a product counts as, for each image: value and tangent forward, and both backward for
the Hessian, one of them for the others."""

ROWS = 4
"""Images at a time: a product keeps values and tangents of all layers."""


class SurrogateCurvature(LinearOperator):
    r"""Second derivatives of the surrogate's mean loss at a point.

    ``hessian``: :math:`\nabla^2 L`. ``ggn``: :math:`J^T H_z J`, the Hessian of the loss in the logits z between their
    Jacobians (Schraudolph 2002). ``fisher``: :math:`J^T (\mathrm{diag}(p) - p p^T) J`, the Fisher information of
    p = softmax(z), whatever the loss; it equals the GGN of the cross-entropy.

    Derivatives are with respect to relative coordinates e, s = point exp(e), or to the scales themselves. With them the
    relation :math:`H_e = S H_s S + \mathrm{diag}(S g_s)` holds, S = diag(point), for the Hessian, without its last term
    for the others.

    Args:
        problem: Network, images and losses.
        point: float64 (dimension,).
        kind: One of `KINDS`.
        loss: Name of a loss.
        relative: Over relative coordinates; else over scales.
        how: Name of a gradient estimator: which surrogate.
        images: All (None), the first so many, or the images of these indices.
        dtype: ``float64``, or ``float32`` for speed.
        progress: Told the number of images after each chunk of a product.

    Attributes:
        cost: So far, in images through the full network.
        products: So far.

    Raises:
        UserError: A name is unknown, the loss has no derivative, or a scale is not positive and finite.
    """

    def __init__(
        self,
        problem: Problem,
        point: Tensor,
        kind: str = "hessian",
        loss: str = "infonce",
        *,
        relative: bool = True,
        how: str = "straight-through",
        images: int | Sequence[int] | None = None,
        dtype: str = "float64",
        progress: Callable[[int], None] | None = None,
    ) -> None:
        if kind not in KINDS:
            raise UserError(f"unknown kind of curvature {kind!r}; give one of {', '.join(KINDS)}")
        load_forward_rules()
        dimension = problem.space.dimension
        super().__init__(np.dtype(np.float64), (dimension, dimension))  # type: ignore[call-arg]
        self._passes = SurrogatePasses(problem, point, how, images, dtype)
        self._kind, self._loss, self._relative, self._progress = kind, loss, relative, progress
        self._passes.cotangent(loss)  # refuses a loss without derivative
        self._exact = self._passes.exact_logits()
        self.cost = self.products = 0

    def _matvec(self, vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        tangent = torch.from_numpy(np.ascontiguousarray(vector, dtype=np.float64).reshape(-1))
        with forward_ad.dual_level():
            operands = self._operands(_dual(self._start().requires_grad_(), tangent))
            along = [_along(tensor) for tensor in operands.tensors]
            cut = operands.mapped(lambda tensor: tensor.detach().clone().requires_grad_(tensor.requires_grad))
        # Slopes in scales and weights, and for the Hessian their derivatives along the vector, summed over the images.
        slopes = [torch.zeros_like(tensor) for tensor in cut.moving]
        bends = [torch.zeros_like(tensor) for tensor in cut.moving]
        for rows, selected in self._passes.chunks(ROWS):
            # A level for each chunk: tangents and the graph refer to each other, and only its end frees them.
            with forward_ad.dual_level():
                duals = cut.replaced([_dual(leaf, part) for leaf, part in zip(cut.tensors, along, strict=True)])
                logits = self._passes.logits(duals, rows, selected)
                if logits.requires_grad:
                    self._add_chunk(cut.moving, rows, logits, slopes, bends)
            if self._progress is not None:
                self._progress(len(rows))
        self.products += 1
        self.cost += PRODUCT_COST[self._kind] * len(self._passes.chosen)
        return self._at_the_point(slopes, bends, tangent).numpy()

    _rmatvec = _matvec

    def _start(self) -> Tensor:
        """The variable at the point."""
        point = self._passes.point
        return torch.zeros_like(point) if self._relative else point.clone()

    def _operands(self, variable: Tensor) -> Operands:
        return self._passes.operands(self._passes.point * torch.exp(variable) if self._relative else variable)

    def _add_chunk(
        self, leaves: list[Tensor], rows: list[int], logits: Tensor, slopes: list[Tensor], bends: list[Tensor]
    ) -> None:
        if self._kind == "hessian":
            loss = self._chunk_loss(rows, logits.double())
            found = torch.autograd.grad(loss, leaves, create_graph=True, allow_unused=True)
            add(slopes, found)
            add(bends, [None if slope is None else _along(slope) for slope in found])
            return
        value, tangent = forward_ad.unpack_dual(logits)  # type: ignore[no-untyped-call]
        if tangent is not None:
            cotangent = self._in_logits(rows, value.detach().double(), tangent.detach().double())
            add(slopes, torch.autograd.grad(value, leaves, cotangent.to(value.dtype), allow_unused=True))

    def _at_the_point(self, slopes: list[Tensor], bends: list[Tensor], tangent: Tensor) -> Tensor:
        """The product from what it is in scales and weights, by the chain rule."""
        leaf = self._start().requires_grad_()
        if self._kind != "hessian":
            (found,) = torch.autograd.grad(self._operands(leaf).moving, leaf, slopes)
            return found
        with forward_ad.dual_level():
            tensors = self._operands(_dual(leaf, tangent)).moving
            outer = [_dual(slope, bend) for slope, bend in zip(slopes, bends, strict=True)]
            (gradient,) = torch.autograd.grad(tensors, leaf, outer, create_graph=True)
            product = _along(gradient)
            return torch.zeros_like(leaf) if product is None else product

    def _in_logits(self, rows: list[int], logits: Tensor, tangent: Tensor) -> Tensor:
        """The product of the loss's curvature in the logits with a vector of logits."""
        if self._kind == "fisher":
            p = torch.softmax(logits, 1)
            return p * (tangent - (p * tangent).sum(1, keepdim=True)) / len(self._passes.chosen)
        leaf = logits.requires_grad_()
        (slope,) = torch.autograd.grad(self._chunk_loss(rows, leaf), leaf, create_graph=True)
        if not slope.requires_grad:
            return torch.zeros_like(tangent)
        (found,) = torch.autograd.grad(slope, leaf, tangent, allow_unused=True)
        return torch.zeros_like(tangent) if found is None else found

    def _chunk_loss(self, rows: list[int], logits: Tensor) -> Tensor:
        """What some images add to the mean loss, as a function of their logits; the others' logits are fixed."""
        passes = self._passes
        whole = self._exact.index_copy(0, torch.tensor(rows), logits)
        losses = passes.losses(self._loss, whole)
        own = torch.tensor([passes.chosen.index(row) for row in rows])
        return losses[own].sum() / len(passes.chosen)


def load_forward_rules() -> None:
    """Let PyTorch load its rules for forward-mode derivatives, which it does at the first dual number."""
    with warnings.catch_warnings():
        # It compiles them by torch.jit.script, which it deprecates itself: nothing that a user could change.
        warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated")
        with forward_ad.dual_level():
            _dual(torch.zeros(1), torch.zeros(1))


def _dual(value: Tensor, tangent: Tensor | None) -> Tensor:
    """A number with its derivative along the vector."""
    return value if tangent is None else forward_ad.make_dual(value, tangent)  # type: ignore[no-untyped-call]


def _along(dual: Tensor) -> Tensor | None:
    """Its derivative along the vector."""
    tangent: Tensor | None = forward_ad.unpack_dual(dual).tangent  # type: ignore[no-untyped-call]
    return None if tangent is None else tangent.detach().clone()
