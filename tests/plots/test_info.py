from __future__ import annotations

import re

import numpy as np
import pytest

from landscape.errors import UserError
from landscape.plots import surface_info, surface_page
from landscape.plots.info import few_levels, percent
from landscape.roughness import jaggedness_of_values, verdict_lines
from landscape.surface import Surface
from tests.plots.surfaces import SETTINGS, grid, line, with_gaps


def test_labels_name_the_quantity_and_its_unit():
    info = surface_info(grid())
    assert info.x_label == "relative change of the scales along d1 (RMS)"
    assert info.y_label == "relative change of the scales along d2 (RMS)"
    assert {name: value.text.label for name, value in info.values.items()} == {
        "loss": "test cross-entropy (nats)",
        "top1": "test top-1 (%)",
        "infonce": "test infoNCE, x 2T (nats)",
        "flip_rate": "code-flip rate (% of codes)",
    }


@pytest.mark.parametrize(
    ("settings", "word", "where"),
    [
        ({}, "test", ""),
        ({"split": "val", "data": "/a/imagenet-mini/"}, "test", " (imagenet-mini/val)"),
        ({"split": "train", "data": "pictures"}, "training", " (pictures/train)"),
        ({"split": "val", "images_are": "held-out"}, "held-out", ""),
    ],
)
def test_labels_say_what_the_images_are(settings, word, where):
    info = surface_info(grid(settings={**SETTINGS, **settings}))
    assert info.values["loss"].text.label == f"{word} cross-entropy (nats)"
    assert info.values["flip_rate"].text.label == "code-flip rate (% of codes)"
    assert f"40 {word} images{where}," in info.subtitle
    assert f"{word} images" in surface_page(info)


def test_a_value_with_few_levels_is_known_to_be_so():
    info = surface_info(grid(9, 9))
    assert (info.values["loss"].levels, info.values["loss"].levels_words) == (0, "")
    levels = len(np.unique(info.values["top1"].z))
    assert 1 < levels < 20 and info.values["top1"].levels == levels
    assert info.values["top1"].levels_words == f"{levels} distinct values: no contour lines"


@pytest.mark.parametrize(("z", "levels"), [([1.0, 1.0, 2.0, 2.0, np.nan], 2), ([1.0, 2.0, 2.0], 0), ([1.0, 1.0], 0)])
def test_levels_are_few_where_points_share_them(z, levels):
    assert few_levels(np.array(z)) == levels


def test_values_are_those_of_the_surface_in_the_unit_of_the_label():
    surface = grid()
    info = surface_info(surface)
    assert info.y is not None and surface.beta is not None
    assert info.x.tolist() == surface.alpha.tolist() and info.y.tolist() == surface.beta.tolist()
    for name in ("loss", "top1", "infonce"):
        assert (info.values[name].z == surface.values[name]).all()
    np.testing.assert_allclose(info.values["flip_rate"].z, 100 * surface.values["flip_rate"], rtol=1e-15)


def test_the_record_holds_the_intervals_of_the_surface():
    surface = line()
    info = surface_info(surface, level=0.9)
    low, high = surface.interval("top1", level=0.9)
    np.testing.assert_array_equal(info.values["top1"].low, low)
    np.testing.assert_array_equal(info.values["top1"].high, high)
    assert info.values["flip_rate"].low is None and info.values["flip_rate"].high is None
    assert (info.level, info.images) == (0.9, 40)


def test_the_record_marks_centre_best_and_float():
    surface = grid()
    loss, flips = surface_info(surface).values["loss"], surface_info(surface).values["flip_rate"]
    assert loss.centre == surface.values["loss"][2, 3]
    assert loss.best is not None and loss.best.index == surface.best("loss").index
    assert loss.float_level == 0.9
    assert flips.best is None and flips.float_level is None and flips.centre == 0


@pytest.mark.parametrize(("level", "shown"), [(0.0, False), (1.0, True), (9.0, False)])
def test_a_float_level_outside_the_shown_range_is_known_to_be_so(level, shown):
    assert surface_info(line(reference={"float": {"loss": level}})).values["loss"].float_in_range is shown


def test_the_range_includes_the_interval():
    info = surface_info(line()).values["loss"]
    assert info.low is not None and info.high is not None
    assert info.limits == (
        min(info.z.min(), (info.centre + info.low).min()),
        max(info.z.max(), (info.centre + info.high).max()),
    )


def test_title_and_subtitle_tell_where_the_numbers_come_from():
    info = surface_info(line())
    assert info.title == "deit_tiny_patch16_224, w4a8: weight scales of block 5"
    assert info.subtitle == "direction: gaussian, 40 test images, 1,000 calibration images, seed 3, 5 points"
    assert surface_info(grid()).subtitle.endswith("5 x 7 points")
    layers = line(settings={**SETTINGS, "block": None, "layers": "blocks.*.mlp", "which": "both"})
    assert surface_info(layers).title.endswith("weight and activation scales of layers blocks.*.mlp")
    assert surface_info(line(settings={**SETTINGS, "block": 0})).title.endswith("of block 0")


def test_settings_may_be_absent():
    info = surface_info(line(settings={}))
    assert info.title == "quantized network: scales of the network"
    assert info.subtitle == "5 points"


def test_an_unfinished_surface_says_how_far_it_is():
    info = surface_info(with_gaps(line(), np.array([True, False, True, False, False])))
    assert info.subtitle.endswith("unfinished: 2 of 5 points computed")


def test_a_surface_without_any_point_has_a_record():
    info = surface_info(with_gaps(line(), np.zeros(5, dtype=bool))).values["loss"]
    assert info.best is None and info.limits is None and np.isnan(info.centre) and not info.float_in_range


def test_only_the_values_asked_for_are_collected_in_their_order():
    assert list(surface_info(line(), ("top1", "loss")).values) == ["top1", "loss"]
    with pytest.raises(UserError, match="no value 'mse'; it has loss"):
        surface_info(line(), ("mse",))


def test_a_value_of_another_name_is_shown_under_it():
    surface = Surface(np.array([0.0, 1.0]), None, {"brier": np.array([0.5, 1.5])})
    info = surface_info(surface, ("brier",)).values["brier"]
    assert info.text.label == "brier" and info.best is None and (info.z == [0.5, 1.5]).all()


@pytest.mark.parametrize(
    ("coordinate", "shown"), [(0.05, "+5%"), (-0.025, "\u22122.5%"), (0.0, "0%"), (0.1 + 0.2, "+30%"), (-1e-13, "0%")]
)
def test_coordinates_are_shown_in_percent(coordinate, shown):
    assert percent(coordinate) == shown


def test_numbers_are_written_with_the_digits_of_their_value():
    values = surface_info(line()).values
    assert values["loss"].write(1.23456) == "1.2346"
    assert values["top1"].write(-0.5, signed=True) == "\u22120.50"
    assert values["infonce"].write(0.5, signed=True) == "+0.50000"


def test_the_subtitle_says_whether_the_surface_is_rough_in_the_words_of_the_terminal():
    surface = line(9, images=40, settings={**SETTINGS, "infonce_batch": 20})
    found = jaggedness_of_values(surface)
    info = surface_info(surface, found=found)
    table = {row.split()[0]: row for row in verdict_lines(found)}
    for name, verdict in info.verdicts.items():
        assert f"{info.values[name].text.short}: {verdict.said}" in info.subtitle
        assert f" {verdict.said} " in table[name]
    estimate = found["loss"]
    assert not isinstance(estimate, str)
    assert info.verdicts["loss"].jaggedness == pytest.approx(estimate.measured**0.5, rel=1e-15)
    assert info.verdicts["loss"].unit == "nats" and info.verdicts["infonce"].said == "not known"
    page = re.sub(r"<script.*?</script>", "", surface_page(info), flags=re.DOTALL)
    assert "is it rough?</th>" in page and "needs at least 4 batches of 20 images" in page
    assert "is it rough" not in surface_info(surface).subtitle + surface_page(surface_info(surface))


@pytest.mark.parametrize("surface", [line(1), line(3), grid(1, 5), with_gaps(line(9), np.arange(9) % 2 == 0)])
def test_what_cannot_be_judged_is_not_known_and_stops_no_picture(surface):
    info = surface_info(surface, found=jaggedness_of_values(surface))
    said = {verdict.said for verdict in info.verdicts.values()}
    assert said == ({"not known"} if surface.shape != (3,) else {"not shown", "not known"})
    assert surface_page(info)


@pytest.mark.parametrize(
    ("scales", "words"),
    [
        (["blocks.4.attn.qkv.weight", "blocks.4.attn.proj.weight"], "block 4"),
        (["layer2.1.conv1.weight", "layer2.1.conv2.weight"], "layers layer2.1.*"),
        (["head.weight"], "layers head"),
        (["head.weight", "stem.weight"], "the network"),
        ([], "the network"),
    ],
)
def test_a_title_names_the_place_of_scales_that_nobody_asked_for(scales, words):
    assert surface_info(line(settings={"scales": scales})).title.endswith(f": scales of {words}")
