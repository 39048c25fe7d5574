from __future__ import annotations

import pytest
import torch

from benchmarks.eager_graph import FakeQuantizedGraph
from benchmarks.other_networks import eager_logits
from landscape.engine import Evaluator, Reference
from tests.engine.networks import images, quantized


@pytest.mark.parametrize("name", ["resnet", "mobilenet", "swin", "levit", "convnext"])
@pytest.mark.parametrize("correction", ["weight", "none"])
def test_the_baseline_computes_the_same_network_up_to_float32_rounding(name: str, correction: str) -> None:
    network = quantized(name, "w8a8", bias_correction=correction)
    chosen = images(4, side=network.graph.input_shape[-1])
    exact = Evaluator(network, chosen, (), Reference).logits(network)
    eager = eager_logits(FakeQuantizedGraph(network).eval(), chosen, 3).double()
    last = network.graph.output
    while last not in network.activations:
        last = network.graph[last].inputs[0]
    step = float(network.activations[last].scale)
    assert float((eager - exact).abs().max()) <= 8 * step and float((eager - exact).abs().mean()) <= 2 * step
    assert eager.dtype == torch.float64
