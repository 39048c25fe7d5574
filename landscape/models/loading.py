"""Load a network by name, with its weights, its preprocessing and its number of classes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from landscape.errors import UserError
from landscape.models.bundled import BUNDLED, BundledModel, bundled_models, digits_preprocessing, weights_path
from landscape.models.factory import TIMM_SOURCES, build_from_factory, is_factory_name
from landscape.models.preprocessing import Preprocessing, preprocessing_from_config
from landscape.models.state_dict import fit_state_dict, read_state_dict, state_dict_sha256

Source = Literal["bundled", "timm", "user"]

TIMM_FAMILIES = (
    "vision_transformer (ViT, DeiT)",
    "swin_transformer",
    "levit",
    "resnet",
    "regnet",
    "mobilenetv1, mobilenetv2, mobilenetv3",
    "efficientnet",
    "convnext",
    "swinv2, xcit, fastvit, mvitv2, coat",
)
"""Families of timm that the tests hold, the first few those that the scheme is made for; nearly all others work too."""

_RANDOM_WEIGHTS_SEED = 0


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network ready to be quantized: the teacher.

    Attributes:
        name: as the user gave it.
        module: in eval mode, float32, on the CPU, without gradients; (N, C, size, size) -> logits (N, num_classes).
        preprocessing: what its images need, the user's wishes included.
        num_classes: number of logits, found by running the network once.
        source: where the network's code comes from.
        weights: where its weights come from: "bundled", "pretrained", "random" (seeded), "factory" (as a user's
            factory returned them), or the path of a file.
        weights_sha256: hash of all parameters and buffers by name.
    """

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    num_classes: int
    source: Source
    weights: str
    weights_sha256: str

    def __repr__(self) -> str:
        """One line: name, kind of network, weights."""
        kind = f"{type(self.module).__name__}, {self.num_classes} classes"
        return f"LoadedModel({self.name}, {kind}, weights {self.weights} {self.weights_sha256[:8]})"


def load_model(
    name: str = "digits_vit",
    weights: Path | str | None = None,
    pretrained: bool = False,
    *,
    resize: int | Literal["none"] | None = None,
    crop: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> LoadedModel:
    """Load a network.

    Args:
        name: a bundled network ("digits_vit", "digits_cnn"), any model of timm (also "hf-hub:owner/name" and
            "local-dir:folder", which it reads with `pretrained`), or a user's own network as
            "path/to/file.py:factory" or "package.module:factory".
        weights: a file with weights that fit exactly (see `read_state_dict`). Without it a bundled network has its
            trained weights, a user's those its factory gave it, and one of timm random ones, the same every time.
        pretrained: let timm download its weights.
        resize: shorter side of an image before the crop; "none" for no resizing; None for the network's own choice.
        crop: side of the centre crop, hence of the network's input; None for the network's own choice.
        mean: per channel (or one value for all), in units of full white; None for the network's own choice.
        std: likewise.

    Raises:
        UserError: unknown name, weights that are missing or do not fit, a failed download, a factory that fails, or a
            network that does not map one image to a row of finite logits.
    """
    if weights is not None and pretrained:
        raise UserError("both a weight file and pretrained weights were asked for; choose one")
    if pretrained and (name in BUNDLED or is_factory_name(name)):
        raise UserError(f"{name} is not a network of timm, so there is nothing to download; leave out --pretrained")
    _import_timm()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_RANDOM_WEIGHTS_SEED)
        module, source, origin = _build(name, pretrained)
    module = module.to(device="cpu", dtype=torch.float32).eval().requires_grad_(False)
    if weights is None and source == "bundled":
        weights = weights_path(name)
    elif weights is not None:
        origin = str(weights)
    if weights is not None:
        fit_state_dict(module, read_state_dict(Path(weights)), Path(weights))
    preprocessing = _preprocessing(module, source).override(resize=resize, crop=crop, mean=mean, std=std)
    return LoadedModel(
        name=name,
        module=module,
        preprocessing=preprocessing,
        num_classes=_count_classes(module, name, preprocessing),
        source=source,
        weights=origin,
        weights_sha256=state_dict_sha256(module),
    )


def list_models() -> list[BundledModel]:
    """The networks that need no download, with their size and accuracy; `TIMM_FAMILIES` names the others."""
    return bundled_models()


def _import_timm() -> None:
    """Import timm where a network is needed, not with this package.

    Commands that only read runs start sooner so; and timm imports ``torch._dynamo``, which makes its cache folder.

    Raises:
        UserError: that folder, or a file of a package, cannot be used.
    """
    try:
        import timm  # noqa: F401
    except OSError as error:
        raise UserError(
            f"timm and PyTorch cannot be imported ({error}); if that is PyTorch's cache folder, set "
            "TORCHINDUCTOR_CACHE_DIR to one that can be written"
        ) from error


def _build(name: str, pretrained: bool) -> tuple[nn.Module, Source, str]:
    """Return the network, where its code comes from, and where its weights come from unless a file is given."""
    if name in BUNDLED:
        return BUNDLED[name](), "bundled", "bundled"
    if is_factory_name(name):
        return build_from_factory(name), "user", "factory"
    import timm

    if not name.startswith(TIMM_SOURCES) and not timm.is_model(name):
        near = difflib.get_close_matches(name, [*BUNDLED, *timm.list_models()], n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "see `landscape models`, or give file.py:factory"
        raise UserError(f"unknown model {name!r}; {hint}")
    return _create_timm_model(name, pretrained), "timm", "pretrained" if pretrained else "random"


def _create_timm_model(name: str, pretrained: bool) -> nn.Module:
    import timm

    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained)
    except Exception as error:  # timm and the hub raise many types: no network, no such tag, no weights published
        reason = str(error).split("\n", 1)[0]
        if pretrained:
            raise UserError(f"no pretrained weights for {name} ({reason}); give a file with --weights") from error
        raise UserError(f"timm cannot make {name} ({reason}); give another name") from error
    return model


def _preprocessing(module: nn.Module, source: Source) -> Preprocessing:
    if source == "bundled":
        return digits_preprocessing()
    if source == "timm":
        from timm.data.config import resolve_model_data_config

        config = resolve_model_data_config(module)  # type: ignore[no-untyped-call]
        return preprocessing_from_config(config)
    config = getattr(module, "pretrained_cfg", None) or {}
    return preprocessing_from_config(config if isinstance(config, dict) else config.to_dict())


def _count_classes(module: nn.Module, name: str, preprocessing: Preprocessing) -> int:
    """Run the network once on a black image; also finds an input size that does not suit it."""
    size = preprocessing.size
    try:
        with torch.no_grad():
            logits = module(torch.zeros(1, preprocessing.channels, size, size))
    except Exception as error:  # whatever the network's own code raises
        reason = str(error).split("\n", 1)[0]
        raise UserError(
            f"{name} cannot take {preprocessing.describe()} ({reason}); set its input size with --crop"
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or len(logits) != 1:
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UserError(f"{name} gives {shape} for one image; expected logits of shape (1, classes)")
    if not logits.isfinite().all():
        raise UserError(f"{name} gives logits that are not finite for a black image; check its weights")
    return logits.shape[1]
