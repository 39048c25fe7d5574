"""BRECQ's block reconstruction, applied to scales: Fisher-weighted output error of one block after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from evolq.float_pass import node_batches
from evolq.methods.proposal import Proposal
from evolq.objective import NetworkObjective
from evolq.space import FloatArray
from landscape.engine import Evaluator
from landscape.errors import UserError
from landscape.images import ImageSet
from landscape.quant.network import QuantizedNetwork


@dataclass(frozen=True)
class BRECQOptions:
    """Settings of the block reconstruction.

    Attributes:
        images: Search images whose block outputs are reconstructed, at most; fewer where the budget does not pay for
            them. The paper takes 1,024; with 32 the digits' network hardly improves.
        factors: Factors of a scale that are tried one after another, with spaces between them.
        rounds: How often the scales of a block are gone through.
    """

    images: int = 1024
    factors: str = "0.85 0.93 1.07 1.15"
    rounds: int = 1

    def __post_init__(self) -> None:
        if self.images < 1 or self.rounds < 1 or not self.numbers() or not all(f > 0 for f in self.numbers()):
            raise UserError("brecq needs images >= 1, rounds >= 1 and positive factors with spaces between them")

    def numbers(self) -> list[float]:
        """The factors as numbers.

        Raises:
            UserError: One is no number.
        """
        try:
            return [float(part) for part in self.factors.split()]
        except ValueError:
            raise UserError(f"factors {self.factors!r} of brecq are no numbers with spaces between them") from None


@dataclass
class BRECQ(Proposal):
    """Block reconstruction with the diagonal Fisher matrix (Li et al., ICLR 2021, arXiv 2102.05426, eq. 10).

    For each block from the first to the last, with everything before it quantized: each of its scales in turn is
    multiplied by the factor of least sum (dz)^2 g^2, where dz is the error of the block's output z and g the derivative
    of -log p at z. The paper optimises the rounding of weights this way; here it is all channels of a layer at once.
    Every candidate counts its images in full, though only the network up to the block has to run.
    """

    Options: ClassVar[type[Any]] = BRECQOptions
    SPACE: ClassVar[dict[str, Any]] = {"scales": "weights"}

    def propose(self, problem: NetworkObjective) -> FloatArray | None:
        """See `Proposal`."""
        factors = self.options.numbers()
        each = 3 + self.options.rounds * len(factors) * len(problem.space.names) + len(problem.info.groups)
        count = self.affordable(min(self.options.images, len(problem.problem.images)), each)
        if count == 0:
            return None
        images = problem.problem.images.select(range(count))
        network = start = problem.problem.network
        blocks = [_Block(start, problem.space.names_of_group(group)) for group in range(len(problem.info.groups))]
        _float_targets(start, blocks, images, self.seed)
        problem.spent += 3 * count
        for block in blocks:
            network = self._reconstruct(problem, network, block, images, factors)
        return problem.space.point({name: network.scale(name) for name in problem.space.names}, {})

    def _reconstruct(
        self,
        problem: NetworkObjective,
        network: QuantizedNetwork,
        block: _Block,
        images: ImageSet,
        factors: list[float],
    ) -> QuantizedNetwork:
        least = self._error(problem, network, block, images)
        for _ in range(self.options.rounds):
            for name in block.names:
                scale = network.scale(name)
                for factor in factors:
                    candidate = network.with_scales({name: scale * factor})
                    error = self._error(problem, candidate, block, images)
                    if error < least:
                        least, network = error, candidate
        return network

    def _error(self, problem: NetworkObjective, network: QuantizedNetwork, block: _Block, images: ImageSet) -> float:
        problem.spent += len(images)
        evaluator = Evaluator(network, images, (), problem.problem.arithmetic, problem.problem.chunk, 0)
        if block.output == network.graph.output:
            values = evaluator.logits(network)
        else:
            codes = evaluator.codes(network, [block.output], len(images))[block.output]
            values = codes.double() * network.activations[block.output].scale
        difference = values.reshape(block.target.shape) - block.target
        return float((difference.square() * block.fisher).sum())


class _Block:
    """Scales of a block, and the float value of its output with the squared derivatives there.

    Its output is the last of its nodes with a quantizer; of the last block, and of one without quantizers, the logits.
    """

    def __init__(self, network: QuantizedNetwork, names: tuple[str, ...]) -> None:
        self.names = names
        graph = network.graph
        inside = {name.rpartition(".")[0] for name in names}
        modules = {graph[name].module for name in inside}
        prefix = _common(modules)
        nodes = [
            node.name
            for node in graph
            if node.name in network.activations and node.op != "softmax" and f"{node.module}.".startswith(f"{prefix}.")
        ]
        self.output = nodes[-1] if nodes and prefix else graph.output
        self.target = torch.zeros(0)
        self.fisher = torch.zeros(0)


def _common(modules: set[str]) -> str:
    """The path that all modules lie in: ``blocks.3`` of ``blocks.3.attn.qkv`` and ``blocks.3.mlp.fc1``."""
    parts = [module.split(".") for module in sorted(modules)]
    common = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        common.append(level[0])
    return ".".join(common)


def _float_targets(network: QuantizedNetwork, blocks: list[_Block], images: ImageSet, seed: int) -> None:
    names = [block.output for block in blocks]
    found: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in names}
    for batch in node_batches(network.graph, images, names, seed):
        for name, (value, slope) in batch.items():
            found[name].append((value.double(), slope.double().square()))
    for name in list(found):
        pairs = found.pop(name)
        target, fisher = torch.cat([value for value, _ in pairs]), torch.cat([square for _, square in pairs])
        for block in blocks:
            if block.output == name:
                block.target, block.fisher = target, fisher
