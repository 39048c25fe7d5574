"""OMSE without search: for each channel the scale and zero point of least squared weight error."""

from __future__ import annotations

from dataclasses import dataclass

from evolq.methods.proposal import Proposal, layers_of
from evolq.objective import NetworkObjective
from evolq.space import FloatArray
from landscape.quant.omse import omse_weight
from landscape.quant.qparams import CodeRange


@dataclass
class OMSE(Proposal):
    """Per-channel OMSE (Choukroun et al. 2019, arXiv 1902.06822), as `landscape.quant.omse` finds it; costs nothing."""

    def propose(self, problem: NetworkObjective) -> FloatArray:
        """See `Proposal`."""
        network = problem.problem.network
        scales, zero_points = {}, {}
        for layer in layers_of(problem):
            weight = network.graph[layer].weight
            assert weight is not None
            found = omse_weight(weight, CodeRange(network.weights[layer].bits))
            scales[f"{layer}.weight"], zero_points[f"{layer}.weight"] = found.scale, found.zero_point
        return problem.space.point(scales, zero_points)
