"""Preprocessing: timm's settings, the user's wishes, and contradictions between them."""

from __future__ import annotations

import pytest

from landscape.errors import UserError
from landscape.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, preprocessing_from_config

TIMM = {"input_size": (3, 224, 224), "crop_pct": 0.9, "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}


def test_the_shorter_side_is_the_floor_of_size_over_crop_pct():
    preprocessing = preprocessing_from_config({**TIMM, "interpolation": "bilinear"})
    assert preprocessing == Preprocessing(
        size=224, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), resize=248, crop=224, interpolation="bilinear"
    )


def test_a_network_that_says_nothing_gets_imagenet_values_and_no_resizing():
    expected = Preprocessing(size=224, mean=IMAGENET_MEAN, std=IMAGENET_STD, resize=None, crop=None)
    assert preprocessing_from_config({}) == expected


def test_overrides_replace_only_what_they_name():
    preprocessing = preprocessing_from_config(TIMM)
    assert preprocessing.override() == preprocessing
    assert preprocessing.override(resize="none").resize is None
    assert preprocessing.override(resize="none").crop == 224
    assert preprocessing.override(resize=256).resize == 256
    smaller = preprocessing.override(crop=192)
    assert (smaller.size, smaller.crop, smaller.resize) == (192, 192, 248)
    assert preprocessing.override(mean=[0.7, 0.8, 0.9]).mean == (0.7, 0.8, 0.9)
    assert preprocessing.override(mean=[0.5], std=[0.25]).std == (0.25, 0.25, 0.25)


def test_any_override_of_the_geometry_turns_the_crop_on():
    undeclared = preprocessing_from_config({})
    assert undeclared.override(crop=32).crop == 32
    assert undeclared.override(resize=256).crop == 224
    assert undeclared.override(resize="none").crop == 224


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"crop": 300}, "resize to 248 pixels is smaller than the crop of 300"),
        ({"crop": 0}, "positive"),
        ({"resize": 100}, "resize to 100 pixels is smaller than the crop of 224"),
        ({"mean": [0.5, 0.5]}, "mean has 2 values"),
        ({"std": [0.5, 0.5, 0.0]}, "positive"),
        ({"std": [float("nan")]}, "finite"),
    ],
)
def test_contradictions_are_told_in_one_line(wishes, message):
    with pytest.raises(UserError, match=message):
        preprocessing_from_config(TIMM).override(**wishes)


@pytest.mark.parametrize(
    "config", [{"input_size": (3, 224, 192)}, {"input_size": (4, 8, 8), "mean": (0,) * 4}, {"interpolation": "random"}]
)
def test_inputs_that_no_image_can_fill_are_refused(config):
    with pytest.raises(UserError):
        preprocessing_from_config(config)
