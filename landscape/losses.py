"""Losses, one value per image: functions of the quantized network's logits, the labels and the teacher's logits.

A new loss is a function here with an entry in `LOSSES`. All are computed for all images at once, in float64 and on one
thread, so that their values do not depend on the batch size or the thread count of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from landscape.errors import UserError


@dataclass(frozen=True)
class LossOptions:
    """What the losses can be adjusted by.

    Attributes:
        temperature: T of infoNCE (**released**: 3).
        batch: Images that infoNCE contrasts with one another (**released**: 100).
    """

    temperature: float = 3.0
    batch: int = 100

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"infoNCE temperature {self.temperature} is not positive; give a positive number such as 3")
        if self.batch < 2:
            raise UserError(f"infoNCE batch {self.batch} is too small; it contrasts at least 2 images")


@dataclass(frozen=True)
class Outputs:
    """What a loss may look at.

    Attributes:
        logits: Of the quantized network, float64 (N, classes).
        labels: int64 (N,).
        teacher: Logits of the float network, float64 (N, classes).
        options: See `LossOptions`.
    """

    logits: Tensor
    labels: Tensor
    teacher: Tensor
    options: LossOptions


def cross_entropy(outputs: Outputs) -> Tensor:
    """-log softmax(logits)[label], in nats; float64 (N,)."""
    return functional.cross_entropy(outputs.logits, outputs.labels, reduction="none")


def top1(outputs: Outputs) -> Tensor:
    """1.0 where the largest logit is the label's, else 0.0; float64 (N,).

    Quantized logits can be equal. Then the first of the largest counts, as with ``torch.argmax`` on the CPU.
    """
    largest = outputs.logits.amax(1, keepdim=True)
    first = (outputs.logits == largest).to(torch.uint8).argmax(1)
    return (first == outputs.labels).double()


def info_nce(outputs: Outputs) -> Tensor:
    r"""Contrast of each image's quantized logits with the teacher's logits of its batch; float64 (N,), in nats.

    .. math:: l_i = -2T \log \frac{\exp(\cos(q_i, f_i)/T)}{\sum_j \exp(\cos(q_i, f_j)/T)}

    (**paper**, with the released code's factor 2T). N images are split into ceil(N / batch) batches of nearly equal
    size, in their order, so that no small rest has a lower level (**ours**; the same where the batch divides N).
    """
    temperature, count = outputs.options.temperature, len(outputs.labels)
    losses = []
    for part in torch.arange(count).tensor_split(-(-count // outputs.options.batch)):
        quantized = functional.normalize(outputs.logits[part], dim=1)
        teacher = functional.normalize(outputs.teacher[part], dim=1)
        similarity = quantized @ teacher.T / temperature
        losses.append(torch.logsumexp(similarity, 1) - similarity.diagonal())
    return 2 * temperature * torch.cat(losses)


LOSSES: dict[str, Callable[[Outputs], Tensor]] = {"loss": cross_entropy, "top1": top1, "infonce": info_nce}
"""By the names of a surface's columns: cross-entropy (nats), top-1 (correct or not), infoNCE (nats)."""

PERCENT = ("top1",)
"""Losses whose mean is shown in percent."""


def per_image(outputs: Outputs) -> dict[str, Tensor]:
    """All losses, each float64 (N,).

    Raises:
        UserError: A label lies outside the logits.
    """
    classes = outputs.logits.shape[1]
    if len(outputs.labels) and int(outputs.labels.max()) >= classes:
        raise UserError(f"an image has the label {int(outputs.labels.max())}, but the network has {classes} classes")
    with one_thread():
        return {name: function(outputs) for name, function in LOSSES.items()}


def means(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Means over the images, in the units of a surface: nats, or percent for top-1."""
    with one_thread():
        return {name: float(value.mean()) * (100.0 if name in PERCENT else 1.0) for name, value in values.items()}


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread, so that sums have one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
