"""Images for calibration and test: the bundled digits, or a folder in ImageNet layout, drawn by a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from landscape.errors import UserError
from landscape.image_files import Split, find_images, read_image
from landscape.models.bundled import DIGITS_CLASSES, DIGITS_SIZE
from landscape.models.preprocessing import Preprocessing

DIGITS_TRAIN_COUNT = 1000
_DIGITS_SPLIT_SEED = 0
_DIGITS_FULL_SCALE = 16
_DECODING_THREADS = 2


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images ready for a network, kept as 8-bit pixels: 1,000 images of 224x224 take 150 MB.

    Attributes:
        pixels: (N, C, H, W) uint8, after resize and crop, before normalization.
        labels: (N,) int64, class indices of the network.
        names: where each image came from: a path relative to `source`, or "digits/0123".
        mean: per channel, in units of full white (pixel / 255).
        std: per channel, in the same units.
        source: "digits" or the folder.
        split: "train" or "val".
        seed: seed of the drawing.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    split: Split
    seed: int

    def __repr__(self) -> str:
        """One line: how many, of which size, from where."""
        size = " x ".join(str(length) for length in self.pixels.shape[1:])
        return f"ImageSet({len(self)} images {size}, {self.split} of {self.source}, seed {self.seed})"

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def normalized(
        self, indices: slice | Sequence[int] | torch.Tensor = slice(None), dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """Return (pixels / 255 - mean) / std, (n, C, H, W), computed in float64 and rounded once to `dtype`.

        Args:
            indices: which images; a batch at a time keeps memory small, since float64 takes eight times the pixels.
            dtype: of the result.
        """
        mean = torch.tensor(self.mean, dtype=torch.float64).view(-1, 1, 1)
        std = torch.tensor(self.std, dtype=torch.float64).view(-1, 1, 1)
        return ((self.pixels[indices].to(torch.float64) / 255 - mean) / std).to(dtype)

    def select(self, indices: Sequence[int] | torch.Tensor) -> ImageSet:
        """Return the images at `indices`, in that order."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return replace(
            self,
            pixels=self.pixels[chosen],
            labels=self.labels[chosen],
            names=tuple(self.names[index] for index in chosen.tolist()),
        )

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of names, labels and pixels: equal digests mean equal images in equal order."""
        result = hashlib.sha256("\0".join(self.names).encode())
        result.update(self.labels.numpy().astype("<i8").tobytes())
        result.update(self.pixels.contiguous().numpy().data)
        return result.hexdigest()


def load_images(
    data: Path | None,
    split: Split,
    count: int | None,
    seed: int,
    preprocessing: Preprocessing,
    num_classes: int,
    exclude: Collection[str] = (),
) -> ImageSet:
    """Draw images without replacement.

    The files are sorted, shuffled by `seed`, and the first `count` are taken in the shuffled order. So the classes are
    mixed, and a smaller set is the beginning of a larger one of the same seed.

    Args:
        data: None for the bundled digits; else a folder with `train/<class>/*` and `val/<class>/*`. For the train split
            the folder may also hold the class folders themselves.
        split: calibration images come from "train", test images from "val".
        count: how many; None takes all.
        seed: of the drawing, at least 0.
        preprocessing: what the network expects.
        num_classes: of the network. With 1,000, folders named by wnid get their ImageNet-1k index even when only some
            classes are there; otherwise the sorted class folders are the classes 0, 1, ...
        exclude: `names` that are not to be drawn; the order of the others stays.

    Raises:
        UserError: the folder is missing, holds no images or too few, an image is broken or too small, or the classes
            do not fit the network.
    """
    if count is not None and count < 1:
        raise UserError(f"{count} {split} images were asked for; ask for at least one")
    if seed < 0:
        raise UserError(f"the seed is {seed}; give 0 or a positive number")
    if data is None:
        return _load_digits(split, count, seed, preprocessing, num_classes, exclude)
    return _load_folder(data, split, count, seed, preprocessing, num_classes, exclude)


def check_disjoint(calibration: ImageSet, test: ImageSet) -> None:
    """Make sure that no image serves for both calibration and test.

    Images are compared by their pixels after preprocessing, so a copy under another name or in another format is found.

    Raises:
        UserError: naming the first test image that is also a calibration image.
    """
    known = {_pixel_digest(pixels): name for pixels, name in zip(calibration.pixels, calibration.names, strict=True)}
    for pixels, name in zip(test.pixels, test.names, strict=True):
        twin = known.get(_pixel_digest(pixels))
        if twin is not None:
            raise UserError(
                f"test image {name} is also a calibration image ({twin}); use separate images, or remove one of the two"
            )


def _pixel_digest(pixels: torch.Tensor) -> bytes:
    return hashlib.sha256(pixels.contiguous().numpy().data).digest()


def _draw(names: Sequence[str], count: int | None, seed: int, exclude: Collection[str], source: str) -> list[int]:
    """Return indices into the sorted `names`, in drawn order."""
    excluded = frozenset(exclude)
    order = [i for i in np.random.default_rng(seed).permutation(len(names)).tolist() if names[i] not in excluded]
    if count is not None and len(order) < count:
        raise UserError(f"{count} images were asked for, but {source} has {len(order)}; ask for fewer")
    return order[:count]


@cache
def _digits() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """All 1,797 digits (N, 8, 8) with their 17 grey levels spread over 0 .. 255, and their labels (N,)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * 255 / _DIGITS_FULL_SCALE).astype(np.uint8)
    return pixels, digits.target.astype(np.int64)


def digits_split(split: Split) -> npt.NDArray[np.int64]:
    """Indices of the digits of a split, ascending: 1,000 for "train", the other 797 for "val", stratified by class.

    The split never changes: the bundled networks were trained on its train part alone.
    """
    from sklearn.model_selection import train_test_split

    _, labels = _digits()
    train, val = train_test_split(
        np.arange(len(labels)), train_size=DIGITS_TRAIN_COUNT, stratify=labels, random_state=_DIGITS_SPLIT_SEED
    )
    return np.sort(train if split == "train" else val).astype(np.int64)


def _load_digits(
    split: Split,
    count: int | None,
    seed: int,
    preprocessing: Preprocessing,
    num_classes: int,
    exclude: Collection[str],
) -> ImageSet:
    pixels, labels = _digits()
    _check_fits_digits(preprocessing, num_classes)
    members = digits_split(split)
    names = [f"digits/{index:04d}" for index in members]
    drawn = _draw(names, count, seed, exclude, f"the {split} part of the bundled digits")
    chosen = members[drawn]
    return ImageSet(
        pixels=torch.from_numpy(pixels[chosen]).unsqueeze(1),
        labels=torch.from_numpy(labels[chosen]),
        names=tuple(names[index] for index in drawn),
        mean=preprocessing.mean,
        std=preprocessing.std,
        source="digits",
        split=split,
        seed=seed,
    )


def _check_fits_digits(preprocessing: Preprocessing, num_classes: int) -> None:
    if (preprocessing.channels, preprocessing.size, preprocessing.resize) != (1, DIGITS_SIZE, None):
        raise UserError(
            f"the bundled digits are {DIGITS_SIZE}x{DIGITS_SIZE} grey images, but the network takes "
            f"{preprocessing.describe()}; give a folder of images with --data"
        )
    if num_classes != DIGITS_CLASSES:
        raise UserError(
            f"the bundled digits have {DIGITS_CLASSES} classes, but the network has {num_classes}; "
            "give a folder of images with --data"
        )


def _load_folder(
    data: Path,
    split: Split,
    count: int | None,
    seed: int,
    preprocessing: Preprocessing,
    num_classes: int,
    exclude: Collection[str],
) -> ImageSet:
    files = find_images(data, split, num_classes)
    drawn = [
        files[i] for i in _draw([file.name for file in files], count, seed, exclude, f"the {split} part of {data}")
    ]
    return ImageSet(
        pixels=_read_all([file.path for file in drawn], preprocessing),
        labels=torch.tensor([file.label for file in drawn], dtype=torch.int64),
        names=tuple(file.name for file in drawn),
        mean=preprocessing.mean,
        std=preprocessing.std,
        source=str(data),
        split=split,
        seed=seed,
    )


def _read_all(paths: Sequence[Path], preprocessing: Preprocessing) -> torch.Tensor:
    size = preprocessing.size
    pixels = torch.empty((len(paths), preprocessing.channels, size, size), dtype=torch.uint8)
    with ThreadPoolExecutor(_DECODING_THREADS) as pool:
        for index, image in enumerate(pool.map(lambda path: read_image(path, preprocessing), paths)):
            pixels[index] = image
    return pixels
