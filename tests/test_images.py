"""Images: the bundled digits, folders in ImageNet layout, and what happens when they are wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from timm.data.imagenet_info import ImageNetInfo
from timm.data.transforms_factory import create_transform

from landscape.errors import UserError
from landscape.image_files import class_indices, read_image
from landscape.images import ImageSet, check_disjoint, digits_split, load_images
from landscape.models.bundled import digits_preprocessing
from landscape.models.preprocessing import Preprocessing

COLOUR = Preprocessing(size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), resize=20, crop=16)
DIGITS = digits_preprocessing()


def digits(split="val", count=None, seed=0, exclude=()) -> ImageSet:
    return load_images(None, split, count, seed, DIGITS, 10, exclude)


def write_image(path: Path, width: int = 24, height: int = 30, seed: int = 0, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes; three training images and two test images in each, all different."""
    for number in range(10):
        split = "train" if number < 6 else "val"
        write_image(tmp_path / "data" / split / ("cat", "dog")[number % 2] / f"{number}.png", seed=number)
    return tmp_path / "data"


def test_digits_keep_their_grey_levels_spread_over_eight_bits():
    images = digits("train", 20)
    for pixels, name, label in zip(images.pixels, images.names, images.labels, strict=True):
        index = int(name.removeprefix("digits/"))
        sixteenths = load_digits().images[index]
        assert label == load_digits().target[index]
        assert (np.abs(pixels[0].numpy() - sixteenths * 255 / 16) <= 0.5).all()
    assert images.pixels.shape == (20, 1, 8, 8)
    assert images.pixels.dtype == torch.uint8
    assert images.labels.dtype == torch.int64


def test_digits_split_is_disjoint_complete_and_stratified():
    train, val = digits_split("train"), digits_split("val")
    assert (len(train), len(val)) == (1000, 797)
    assert sorted([*train, *val]) == list(range(1797))
    labels = load_digits().target
    shares = np.bincount(labels[train]) / 1000 - np.bincount(labels) / 1797
    assert np.abs(shares).max() < 0.001


def test_normalization_is_the_float64_formula_rounded_once(folder):
    images = load_images(folder, "train", None, 0, COLOUR, 2)
    mean, std = np.array(COLOUR.mean)[:, None, None], np.array(COLOUR.std)[:, None, None]
    expected = (images.pixels.numpy().astype(np.float64) / 255 - mean) / std
    np.testing.assert_array_equal(images.normalized(dtype=torch.float64).numpy(), expected)
    np.testing.assert_array_equal(images.normalized([4, 1]).numpy(), expected[[4, 1]].astype(np.float32))
    np.testing.assert_array_equal(images.normalized(slice(2, 4)).numpy(), expected[2:4].astype(np.float32))


def test_a_smaller_draw_is_the_beginning_of_a_larger_one_and_mixes_the_classes():
    small, large = digits(count=50, seed=3), digits(seed=3)
    assert large.names[:50] == small.names
    assert torch.equal(large.pixels[:50], small.pixels)
    assert len(set(large.names)) == len(large) == 797
    assert set(small.labels.tolist()) == set(range(10))


def test_another_seed_draws_other_images_and_the_same_seed_the_same():
    assert digits(count=50, seed=1).digest() == digits(count=50, seed=1).digest()
    assert digits(count=50, seed=1).names != digits(count=50, seed=2).names


def test_excluded_images_are_left_out_and_the_order_of_the_others_stays():
    everything = digits()
    excluded = set(everything.names[::3])
    rest = digits(exclude=excluded)
    assert rest.names == tuple(name for name in everything.names if name not in excluded)


def test_select_keeps_pixels_labels_and_names_together():
    images = digits(count=20)
    chosen = images.select([7, 2])
    assert chosen.names == (images.names[7], images.names[2])
    assert torch.equal(chosen.pixels, images.pixels[[7, 2]])
    assert torch.equal(chosen.labels, images.labels[[7, 2]])


def test_the_digest_changes_with_every_pixel_label_name_and_order():
    images = digits(count=5)
    pixels = images.pixels.clone()
    pixels[3, 0, 2, 2] ^= 1
    fields = {key: value for key, value in vars(images).items()}
    changed = [
        ImageSet(**{**fields, "pixels": pixels}),
        ImageSet(**{**fields, "labels": images.labels + 1}),
        ImageSet(**{**fields, "names": ("other", *images.names[1:])}),
        images.select([1, 0, 2, 3, 4]),
    ]
    assert len({images.digest(), *(other.digest() for other in changed)}) == 5


def test_folder_classes_are_numbered_in_sorted_order_and_names_are_relative(folder):
    images = load_images(folder, "train", None, 0, COLOUR, 2)
    assert set(images.names) == {f"train/{('cat', 'dog')[number % 2]}/{number}.png" for number in range(6)}
    for name, label in zip(images.names, images.labels.tolist(), strict=True):
        assert label == int("dog" in name)


def test_a_class_missing_from_one_split_does_not_shift_the_others(folder):
    shutil.rmtree(folder / "val" / "cat")
    assert load_images(folder, "val", None, 0, COLOUR, 2).labels.tolist() == [1, 1]


def test_hidden_files_and_files_that_are_no_images_are_ignored(folder):
    (folder / "train" / "cat" / ".hidden.png").write_bytes(b"")
    (folder / "train" / "cat" / "notes.txt").write_text("no image")
    (folder / "train" / ".cache").mkdir()
    assert len(load_images(folder, "train", None, 0, COLOUR, 2)) == 6


def test_calibration_folder_may_hold_the_class_folders_directly(folder):
    direct = load_images(folder / "train", "train", None, 0, COLOUR, 2)
    nested = load_images(folder, "train", None, 0, COLOUR, 2)
    assert [f"train/{name}" for name in direct.names] == list(nested.names)
    assert torch.equal(direct.pixels, nested.pixels)


def test_wnid_folders_get_their_imagenet_index_even_when_only_some_are_there(tmp_path):
    write_image(tmp_path / "val" / "n01443537" / "goldfish.png", seed=1)
    write_image(tmp_path / "val" / "n15075141" / "tissue.png", seed=2)
    images = load_images(tmp_path, "val", None, 0, COLOUR, 1000)
    labels = dict(zip(images.names, images.labels.tolist(), strict=True))
    assert labels == {"val/n01443537/goldfish.png": 1, "val/n15075141/tissue.png": 999}


def test_wnid_folders_of_a_smaller_network_are_numbered_in_sorted_order():
    assert class_indices(["n15075141", "n01443537"], 2, Path("val")) == {"n01443537": 0, "n15075141": 1}


@pytest.mark.parametrize("size", [(31, 20), (20, 33), (45, 45)])
def test_resize_and_crop_give_the_pixels_of_timms_validation_transform(tmp_path, size):
    path = write_image(tmp_path / "image.png", *size)
    preprocessing = Preprocessing(size=16, mean=(0.0,) * 3, std=(1.0,) * 3, resize=18, crop=16, interpolation="bicubic")
    transform = create_transform((3, 16, 16), mean=(0, 0, 0), std=(1, 1, 1), crop_pct=16 / 18, interpolation="bicubic")
    expected = (transform(Image.open(path)) * 255).round().to(torch.uint8)
    assert torch.equal(read_image(path, preprocessing), expected)


def test_without_resize_the_centre_pixels_are_taken_as_they_are(tmp_path):
    path = write_image(tmp_path / "image.png", 19, 21)
    pixels = read_image(path, Preprocessing(size=16, mean=(0.0,) * 3, std=(1.0,) * 3, crop=16))
    expected = np.array(Image.open(path))[2:18, 2:18]  # margins 2.5 and 1.5, halves rounded to even as torchvision does
    np.testing.assert_array_equal(pixels.numpy(), expected.transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_colour_and_grey_files_suit_networks_of_one_and_of_three_channels(tmp_path, mode):
    path = write_image(tmp_path / "image.png", 16, 16, mode=mode)
    grey = Preprocessing(size=16, channels=1, mean=(0.5,), std=(0.5,))
    colour = Preprocessing(size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
    np.testing.assert_array_equal(read_image(path, grey)[0], np.array(Image.open(path).convert("L")))
    np.testing.assert_array_equal(read_image(path, colour).permute(1, 2, 0), np.array(Image.open(path).convert("RGB")))


def test_bundled_networks_read_folders_of_grey_images(tmp_path):
    for label in range(10):
        write_image(tmp_path / "val" / str(label) / "0.png", 8, 8, seed=label, mode="L")
    assert load_images(tmp_path, "val", None, 0, DIGITS, 10).pixels.shape == (10, 1, 8, 8)


def test_calibration_and_test_digits_are_disjoint_and_an_overlap_is_named():
    check_disjoint(digits("train"), digits("val"))
    images = digits("val", 10)
    with pytest.raises(UserError, match=f"test image {images.names[4]} is also a calibration image"):
        check_disjoint(images.select([4, 6]), images)


def test_a_copy_under_another_name_is_not_disjoint(folder):
    shutil.copy(folder / "train" / "cat" / "0.png", folder / "val" / "dog" / "copy.png")
    calibration = load_images(folder, "train", None, 0, COLOUR, 2)
    test = load_images(folder, "val", None, 0, COLOUR, 2)
    with pytest.raises(UserError, match=r"val/dog/copy\.png is also a calibration image \(train/cat/0\.png\)"):
        check_disjoint(calibration, test)


def user_error(data: Path | None, split="train", count=None, preprocessing=COLOUR, num_classes=2) -> str:
    with pytest.raises(UserError) as caught:
        load_images(data, split, count, 0, preprocessing, num_classes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_folder_split_or_image_is_told(folder, tmp_path):
    assert "there is no folder" in user_error(tmp_path / "nowhere")
    assert "has no val/ folder" in user_error(folder / "train", "val")
    (tmp_path / "only_val").mkdir()
    (folder / "val").rename(tmp_path / "only_val" / "val")
    assert "--calib-data" in user_error(tmp_path / "only_val", "train")
    for name in "ab":
        (tmp_path / "empty" / "train" / name).mkdir(parents=True)
    assert "no images in" in user_error(tmp_path / "empty")


def test_a_truncated_image_is_told_by_its_path(folder):
    path = folder / "train" / "dog" / "3.png"
    path.write_bytes(path.read_bytes()[:-100])
    assert str(path) in user_error(folder)
    path.write_bytes(b"not an image at all")
    assert str(path) in user_error(folder)


def test_fewer_images_than_asked_for_tells_both_numbers(folder):
    message = user_error(folder, count=7)
    assert "7 images" in message
    assert "has 6" in message
    assert "has 797" in user_error(None, "val", 798, DIGITS, 10)


def test_class_counts_that_differ_tell_both_numbers(folder):
    for classes in (1, 3):
        message = user_error(folder, num_classes=classes)
        assert "2 class folders" in message
        assert f"{classes} classes" in message


def test_images_that_lie_in_no_class_folder_are_told_where_to_go(tmp_path):
    write_image(tmp_path / "train" / "0.png")
    assert f"no class folders; put each image into one: {tmp_path}/train/<class>/" in user_error(tmp_path)


@pytest.mark.parametrize("name", ["n00000001", "cat"])
def test_a_folder_that_is_no_wnid_of_imagenet_is_named(tmp_path, name):
    write_image(tmp_path / "train" / "n01440764" / "0.png")
    write_image(tmp_path / "train" / name / "0.png")
    assert f"{name} is not a wnid of ImageNet-1k" in user_error(tmp_path, num_classes=1000)


def test_the_wnids_are_the_thousand_of_imagenet_in_sorted_order():
    wnids = ImageNetInfo().label_names()
    assert class_indices(reversed(wnids), 1000, Path("val")) == {wnid: i for i, wnid in enumerate(sorted(wnids))}


def test_an_image_smaller_than_the_crop_tells_both_sizes(folder):
    path = write_image(folder / "train" / "cat" / "small.png", 15, 30)
    without_resize = COLOUR.override(resize="none")
    message = user_error(folder, preprocessing=without_resize)
    assert str(path) in message
    assert "15x30" in message
    assert "16x16" in message


def test_without_crop_an_image_of_another_size_is_refused(folder):
    assert "--resize and --crop" in user_error(
        folder, preprocessing=Preprocessing(size=16, mean=(0,) * 3, std=(1,) * 3)
    )


def test_sixteen_bit_images_are_refused(folder):
    path = folder / "train" / "cat" / "deep.png"
    Image.fromarray(np.full((30, 30), 40000, dtype=np.uint16)).save(path)
    assert f"{path} has more than 8 bits" in user_error(folder)


def test_digits_are_refused_for_a_network_of_another_input_or_class_count():
    assert "16x16 colour images; give a folder of images with --data" in user_error(None)
    assert "10 classes, but the network has 7" in user_error(None, preprocessing=DIGITS, num_classes=7)


def test_a_count_below_one_and_a_negative_seed_are_refused():
    assert "at least one" in user_error(None, count=0, preprocessing=DIGITS, num_classes=10)
    with pytest.raises(UserError, match="seed"):
        digits(seed=-1)


def test_real_calibration_and_test_images_are_disjoint_and_labelled(shared_data):
    preprocessing = Preprocessing(size=224, mean=(0.5,) * 3, std=(0.5,) * 3, crop=224)
    calibration = load_images(shared_data / "imagenet-mini", "train", 40, 0, preprocessing, 1000)
    test = load_images(shared_data / "imagenet-mini", "val", 40, 0, preprocessing, 1000)
    check_disjoint(calibration, test)
    wnids = ImageNetInfo().label_names()
    for images in (calibration, test):
        for name, label in zip(images.names, images.labels.tolist(), strict=True):
            assert name.split("/")[1] == wnids[label]
