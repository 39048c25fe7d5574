"""More networks of timm, small: the graphs are exact, and all engines give the codes of the reference."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from landscape.engine import Evaluator, Reference
from landscape.engine.native import Native
from landscape.engine.portable import Portable
from landscape.graph import capture
from landscape.images import ImageSet
from landscape.quant.calibrate import quantize_network
from landscape.quant.scheme import preset
from tests.graph.families import double_logits, graph_logits, images, randomize, relative_error

_SMALL_SWIN: dict[str, Any] = {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)}

QUICK: dict[str, tuple[int, dict[str, Any]]] = {
    "convnext_atto": (64, {"depths": (1, 1, 1, 1)}),
    "coat_lite_tiny": (64, {"img_size": 64}),
    "crossvit_tiny_240": (240, {}),
    "efficientvit_b0": (64, {}),
    "fastvit_t8": (64, {}),
    "mvitv2_tiny": (64, {"img_size": 64}),
    "skresnet18": (64, {}),
    "swinv2_tiny_window8_256": (64, {"img_size": 64, "window_size": 4, **_SMALL_SWIN}),
    "vit_tiny_patch16_dinov3_qkvb": (48, {"img_size": 48, "depth": 2}),
    "xcit_nano_12_p8_224": (32, {"img_size": 32, "depth": 2}),
}
SLOW: dict[str, tuple[int, dict[str, Any]]] = {
    "beit_base_patch16_224": (32, {"img_size": 32, "depth": 2}),
    "cait_xxs24_224": (32, {"img_size": 32, "depth": 2}),
    "convit_tiny": (32, {"img_size": 32, "depth": 2}),
    "davit_tiny": (64, {"depths": (1, 1, 1, 1)}),
    "densenet121": (64, {}),
    "edgenext_xx_small": (64, {}),
    "efficientformerv2_s0": (224, {}),
    "focalnet_tiny_srf": (64, {}),
    "gcvit_xxtiny": (224, {}),
    "ghostnet_050": (64, {}),
    "hrnet_w18_small": (64, {}),
    "inception_v3": (128, {}),
    "lowformer_b0": (64, {}),
    "mobilevit_xxs": (64, {}),
    "nest_tiny": (224, {}),
    "nextvit_small": (64, {}),
    "pit_ti_224": (224, {"depth": (1, 1, 1)}),
    "poolformerv2_s12": (64, {}),
    "pvt_v2_b0": (64, {}),
    "resnest14d": (64, {}),
    "samvit_base_patch16_224": (64, {"img_size": 64, "depth": 2, "embed_dim": 48, "num_heads": 4}),
    "tnt_s_legacy_patch16_224": (32, {"img_size": 32, "depth": 2}),
    "tresnet_m": (64, {}),
    "twins_svt_small": (64, {"depths": (1, 1, 1, 1)}),
    "vit_tiny_r_s16_p8_224": (64, {"img_size": 64, "depth": 2}),
    "vitamin_small_224": (64, {"img_size": 64}),
    "volo_d1_224": (64, {"img_size": 64}),
}
NETWORKS = {**QUICK, **SLOW}
IN_FLOAT32 = ("efficientvit_b0",)
"""Modules that compute a part in float32 even if they are float64 themselves."""
MARKED = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.mark.parametrize("name", MARKED)
def test_the_graph_is_exact_and_engines_give_the_codes_of_the_reference(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDSCAPE_COMPILE", "0")
    side, options = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = timm.create_model(name, num_classes=10, **options)
    module = randomize(module).requires_grad_(False)
    graph, x = capture(module, (3, side, side)), images(side)
    expected = double_logits(module, x)
    assert relative_error(graph_logits(graph, x), expected) < (1e-6 if name in IN_FLOAT32 else 1e-12)
    assert expected.std() > 0 and (expected[0] - expected[1]).abs().max() > 1e-6 * expected.std()

    pixels = torch.randint(0, 256, (3, 3, side, side), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    half = (0.5, 0.5, 0.5)
    drawn = ImageSet(pixels, torch.arange(3), ("a", "b", "c"), half, half, "test", "train", 0)
    network = quantize_network(graph, preset("default").with_bits("w4a8"), drawn, exact_input=False)
    codes = {}
    for engine in (Reference, Native, Portable):
        evaluator = Evaluator(network, drawn, (), engine, 2)
        codes[engine] = {**evaluator.codes(network, list(network.placements), 3), "logits": evaluator.logits(network)}
    reference = codes.pop(Reference)
    assert torch.isfinite(reference["logits"]).all()
    for engine, found in codes.items():
        assert [node for node in reference if not torch.equal(found[node], reference[node])] == [], engine.name
