"""The two small networks that ship inside the package, so that everything runs without downloads.

Both read one grey 8x8 image (N, 1, 8, 8) of scikit-learn's digits, normalized by `DIGITS_MEAN` and `DIGITS_STD`,
and return logits (N, 10). `tools/train_digits.py` trained them; the record of it lies beside each weight file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from landscape.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

WEIGHTS_FOLDER = Path(__file__).parent / "weights"

DIGITS_CLASSES = 10
DIGITS_SIZE = 8
DIGITS_MEAN = 0.305
DIGITS_STD = 0.375
"""Mean and standard deviation of all grey levels of the digits, in units of full white."""


def digits_vit() -> VisionTransformer:
    """A plain vision transformer: 8 blocks, 48 channels, 4 heads, patches of 2x2, so 16 patches and a class token."""
    from timm.models.vision_transformer import VisionTransformer  # late, as in `landscape.models.loading`

    return VisionTransformer(
        img_size=DIGITS_SIZE,
        patch_size=2,
        in_chans=1,
        num_classes=DIGITS_CLASSES,
        embed_dim=48,
        depth=8,
        num_heads=4,
        weight_init="jax",  # Xavier; at this width the default of timm starts learning much later
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut around them (He et al. 2015); (N, in, H, W) -> (N, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Make the block; where the channel count changes, the shortcut is a 1x1 convolution, else the identity."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
            )
        self.act2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return relu(residual(x) + shortcut(x))."""
        residual = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        result: torch.Tensor = self.act2(residual + self.shortcut(x))
        return result


class DigitsCnn(nn.Module):
    """A stem, four residual blocks with a max-pool in the middle, average pooling and a linear classifier."""

    def __init__(self) -> None:
        """Make the network with random weights."""
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.act1 = nn.ReLU()
        self.layer1 = nn.Sequential(ResidualBlock(32, 32), ResidualBlock(32, 32))
        self.max_pool = nn.MaxPool2d(2)
        self.layer2 = nn.Sequential(ResidualBlock(32, 64), ResidualBlock(64, 64))
        self.average_pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(64, DIGITS_CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map normalized images (N, 1, 8, 8) to logits (N, 10)."""
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.layer2(self.max_pool(self.layer1(x)))
        logits: torch.Tensor = self.head(self.average_pool(x).flatten(1))
        return logits


def digits_cnn() -> DigitsCnn:
    """A convolutional network with batch norm and residual sums (see `DigitsCnn`)."""
    return DigitsCnn()


BUNDLED: dict[str, Callable[[], nn.Module]] = {"digits_vit": digits_vit, "digits_cnn": digits_cnn}
"""Factories of the bundled networks by name; they return random weights, the trained ones lie in `weights_path`."""


def digits_preprocessing() -> Preprocessing:
    """What the bundled networks expect: grey 8x8 images, as they are."""
    return Preprocessing(
        size=DIGITS_SIZE,
        channels=1,
        mean=(DIGITS_MEAN,),
        std=(DIGITS_STD,),
        resize=None,
        crop=None,
        interpolation="bicubic",
    )


def weights_path(name: str) -> Path:
    """The trained weights of a bundled network (safetensors, float32)."""
    return WEIGHTS_FOLDER / f"{name}.safetensors"


def training_record_path(name: str) -> Path:
    """The JSON record of how a bundled network was trained."""
    return WEIGHTS_FOLDER / f"{name}.json"


@dataclass(frozen=True)
class BundledModel:
    """One line of `landscape models`.

    Attributes:
        name: what `load_model` takes.
        parameters: number of trained parameters.
        size_bytes: size of the weight file.
        test_accuracy: float32 top-1 in percent on the 797 test digits, as recorded by the training script.
    """

    name: str
    parameters: int
    size_bytes: int
    test_accuracy: float


def bundled_models() -> list[BundledModel]:
    """Describe the bundled networks, in a fixed order."""
    return [_describe(name) for name in BUNDLED]


def _describe(name: str) -> BundledModel:
    record = json.loads(training_record_path(name).read_text())
    return BundledModel(
        name=name,
        parameters=record["parameters"],
        size_bytes=weights_path(name).stat().st_size,
        test_accuracy=record["test_accuracy"],
    )
