"""Curvature of the straight-through surrogate over the scales that may move, as a linear operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor
from torch.autograd import forward_ad

from landscape.errors import UserError
from landscape.gradient.estimate import SurrogatePasses

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
        dimension = problem.space.dimension
        super().__init__(np.dtype(np.float64), (dimension, dimension))  # type: ignore[call-arg]
        self._passes = SurrogatePasses(problem, point, how, images, dtype)
        self._kind, self._loss, self._relative, self._progress = kind, loss, relative, progress
        self._passes.cotangent(loss)  # refuses a loss without derivative
        self._exact = self._passes.exact_logits()
        self.cost = self.products = 0

    def _matvec(self, vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        tangent = torch.from_numpy(np.ascontiguousarray(vector, dtype=np.float64).reshape(-1))
        point = self._passes.point
        leaf = (torch.zeros_like(point) if self._relative else point.clone()).requires_grad_()
        product = torch.zeros_like(point)
        for rows, selected in self._passes.chunks(ROWS):
            # A level for each chunk: tangents and the graph refer to each other, and only its end frees them.
            with forward_ad.dual_level():
                dual = forward_ad.make_dual(leaf, tangent)  # type: ignore[no-untyped-call]
                scales = point * torch.exp(dual) if self._relative else dual
                part = self._of_chunk(leaf, rows, self._passes.chunk_logits(scales, rows, selected))
                if part is not None:
                    product += part
            if self._progress is not None:
                self._progress(len(rows))
        self.products += 1
        self.cost += PRODUCT_COST[self._kind] * len(self._passes.chosen)
        return product.numpy()

    _rmatvec = _matvec

    def _of_chunk(self, leaf: Tensor, rows: list[int], logits: Tensor) -> Tensor | None:
        if not logits.requires_grad:
            return None
        if self._kind == "hessian":
            (gradient,) = torch.autograd.grad(self._chunk_loss(rows, logits.double()), leaf, create_graph=True)
            found: Tensor | None = forward_ad.unpack_dual(gradient).tangent  # type: ignore[no-untyped-call]
            return None if found is None else found.detach()
        value, tangent = forward_ad.unpack_dual(logits)  # type: ignore[no-untyped-call]
        if tangent is None:
            return None
        cotangent = self._in_logits(rows, value.detach().double(), tangent.detach().double())
        (found,) = torch.autograd.grad(value, leaf, cotangent.to(value.dtype))
        return found

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
