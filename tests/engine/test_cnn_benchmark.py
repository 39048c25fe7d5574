from __future__ import annotations

import pytest
import torch

from benchmarks.cnn_engine import eager_logits
from benchmarks.eager_graph import FakeQuantizedGraph
from landscape.engine import Evaluator, Reference
from tests.engine.networks import images, quantized


@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
@pytest.mark.parametrize("correction", ["weight", "none"])
def test_the_baseline_computes_the_same_network_up_to_float32_rounding(name: str, correction: str) -> None:
    network, chosen = quantized(name, "w8a8", bias_correction=correction), images(4)
    exact = Evaluator(network, chosen, (), Reference).logits(network)
    eager = eager_logits(FakeQuantizedGraph(network).eval(), chosen, 3).double()
    step = float(network.activations[network.graph.output].scale)
    assert float((eager - exact).abs().max()) <= 8 * step and float((eager - exact).abs().mean()) <= 2 * step
    assert eager.dtype == torch.float64
