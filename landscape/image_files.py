"""Image files in ImageNet layout: which there are, their classes, and how one is read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from landscape.errors import UserError
from landscape.models.preprocessing import Preprocessing

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
IMAGENET_CLASSES = 1000
_WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class ImageFile:
    """One image of a folder.

    Attributes:
        path: where it lies.
        name: its path relative to the folder that was searched, with forward slashes.
        label: its class index in the network.
    """

    path: Path
    name: str
    label: int


def find_images(data: Path, split: Split, num_classes: int) -> list[ImageFile]:
    """List the images of a split, sorted by name; hidden files and files that are no images are left out.

    Args:
        data: a folder that holds `train/<class>/*` and `val/<class>/*`; for the train split it may also hold the class
            folders themselves.
        split: which part.
        num_classes: of the network (see `class_indices`).

    Raises:
        UserError: the folder or the split is missing, holds no images, or its classes do not fit the network.
    """
    folder = _split_folder(data, split)
    indices = class_indices(_class_names(data, folder), num_classes, folder)
    files = [
        ImageFile(path, path.relative_to(data).as_posix(), label)
        for name, label in indices.items()
        for path in _visible(folder / name)
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    ]
    if not files:
        raise UserError(f"no images in {folder}; expected files such as {folder}/<class>/picture.jpeg")
    return sorted(files, key=lambda file: file.name)


def class_indices(names: Iterable[str], num_classes: int, folder: Path) -> dict[str, int]:
    """Give every class folder its index in the network.

    A network with 1,000 classes and folders named by wnid (n01440764): the place among the sorted ImageNet-1k wnids,
    so a few classes are enough. Otherwise the sorted names are the classes 0, 1, ..., and there must be as many as the
    network has, since any other count leaves the numbering to chance.

    Raises:
        UserError: a wnid is not one of ImageNet-1k, or the counts differ; the message names `folder`.
    """
    ordered = sorted(names)
    if num_classes == IMAGENET_CLASSES and any(_WNID.fullmatch(name) for name in ordered):
        from timm.data.imagenet_info import ImageNetInfo  # late, as in `landscape.models.loading`

        wnids = ImageNetInfo().label_names()  # type: ignore[no-untyped-call]
        places = {wnid: index for index, wnid in enumerate(wnids)}
        for name in ordered:
            if name not in places:
                raise UserError(f"class folder {folder / name} is not a wnid of ImageNet-1k; rename or remove it")
        return {name: places[name] for name in ordered}
    if not ordered:
        raise UserError(f"{folder} has no class folders; put each image into one: {folder}/<class>/picture.jpeg")
    if len(ordered) != num_classes:
        raise UserError(
            f"{folder} has {len(ordered)} class folders, but the network has {num_classes} classes; "
            "use images of the classes that the network was trained on"
        )
    return {name: index for index, name in enumerate(ordered)}


def read_image(path: Path, preprocessing: Preprocessing) -> torch.Tensor:
    """Decode an image in full, resize its shorter side, and take the centre; returns (C, H, W) uint8.

    The arithmetic of sizes and offsets is torchvision's, so the pixels are those of timm's validation transform.

    Raises:
        UserError: the file is broken, its pixels are not 8-bit, or it is too small.
    """
    image = _decode(path, "L" if preprocessing.channels == 1 else "RGB")
    if preprocessing.resize is not None:
        image = _resize_shorter_side(image, preprocessing.resize, preprocessing.interpolation)
    width, height = image.size
    size = preprocessing.size
    if preprocessing.crop is None and (width, height) != (size, size):
        raise UserError(f"{path} is {width}x{height}, but the network takes {size}x{size}; give --resize and --crop")
    if min(width, height) < size:
        raise UserError(f"{path} is {width}x{height}, smaller than the crop of {size}x{size}; use --resize or --crop")
    left, top = round((width - size) / 2), round((height - size) / 2)
    pixels = np.array(image.crop((left, top, left + size, top + size)), dtype=np.uint8)
    return torch.from_numpy(pixels.reshape(size, size, preprocessing.channels)).permute(2, 0, 1).contiguous()


def _decode(path: Path, mode: Literal["L", "RGB"]) -> Image.Image:
    try:
        with Image.open(path) as image:
            original_mode = image.mode
            converted = image.convert(mode)
    except Exception as error:  # Pillow's decoders raise many types on broken files, struct.error and zlib.error too
        raise UserError(f"{path} cannot be decoded ({error}); replace or remove this image") from error
    if original_mode.startswith(("I", "F")):
        raise UserError(f"{path} has more than 8 bits per channel (mode {original_mode}); convert it to 8 bits")
    return converted


def _resize_shorter_side(image: Image.Image, target: int, interpolation: str) -> Image.Image:
    width, height = image.size
    shorter, longer = sorted((width, height))
    if shorter == target:
        return image
    stretched = int(target * longer / shorter)
    new_size = (target, stretched) if width <= height else (stretched, target)
    return image.resize(new_size, Image.Resampling[interpolation.upper()])


def _split_folder(data: Path, split: Split) -> Path:
    if not data.is_dir():
        raise UserError(f"there is no folder {data}; give one with train/<class>/ and val/<class>/ in it")
    if (data / split).is_dir():
        return data / split
    has_other_split = any((data / other).is_dir() for other in SPLITS)
    if split == "val" or has_other_split:
        hint = "; calibration images may lie elsewhere: --calib-data" if split == "train" else ""
        raise UserError(f"{data} has no {split}/ folder; expected {data / split}/<class>/{hint}")
    return data


def _class_names(data: Path, folder: Path) -> set[str]:
    """All classes of the folder; a class that only the other split has still counts, so that indices agree."""
    parents = [folder] if folder == data else [data / split for split in SPLITS if (data / split).is_dir()]
    return {child.name for parent in parents for child in _visible(parent) if child.is_dir()}


def _visible(folder: Path) -> list[Path]:
    """The children of a folder that are not hidden; none where there is no folder."""
    return [child for child in folder.iterdir() if not child.name.startswith(".")] if folder.is_dir() else []
