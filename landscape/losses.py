"""Losses, one value per image: functions of the quantized network's logits, the labels and the teacher's logits.

A new loss is a function here with an entry in `LOSSES`. All are computed for all images at once, in float64 and on one
thread, so that their values do not depend on the batch size or the thread count of the engine.

Logits are q (quantized) and f (the teacher's), p = softmax(f). Names are those of columns; ``infonce@0.5`` is
infoNCE at another temperature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

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
        names: Which losses are computed; see `loss_names`.
    """

    temperature: float = 3.0
    batch: int = 100
    names: tuple[str, ...] = ("loss", "top1", "infonce")

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"infoNCE temperature {self.temperature} is not positive; give a positive number such as 3")
        if self.batch < 2:
            raise UserError(f"infoNCE batch {self.batch} is too small; it contrasts at least 2 images")
        for name in self.names:
            loss_function(name)


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


def mean_squared_error(outputs: Outputs) -> Tensor:
    """Mean over the classes of (q - f)^2, in squared logits (**paper**: a rival of infoNCE); float64 (N,)."""
    return (outputs.logits - outputs.teacher).square().mean(1)


def kl_divergence(outputs: Outputs) -> Tensor:
    """KL(softmax(f) || softmax(q)), the teacher's distribution first, over the classes, in nats; float64 (N,).

    The released code takes it over another axis; here as in Hinton et al. 2015 (**ours**).
    """
    student, teacher = functional.log_softmax(outputs.logits, 1), functional.log_softmax(outputs.teacher, 1)
    return (teacher.exp() * (teacher - student)).sum(1)


def cosine_distance(outputs: Outputs) -> Tensor:
    """1 - cos(q, f) over the classes, 0 to 2; float64 (N,). The released code takes it over the images (a fault)."""
    return 1.0 - functional.cosine_similarity(outputs.logits, outputs.teacher, dim=1, eps=1e-12)


def fisher_error(outputs: Outputs) -> Tensor:
    """sum_k p_k (1 - p_k) (q_k - f_k)^2: squared error weighted with the diagonal of the teacher's Fisher matrix.

    The Fisher information of the cross-entropy in the logits is diag(p) - p p^T; its diagonal is the expectation, over
    labels drawn from p, of BRECQ's squared gradients (Li et al. 2021, arXiv 2102.05426, eq. 10). Squared logits;
    float64 (N,).
    """
    chances = functional.softmax(outputs.teacher, 1)
    return (chances * (1.0 - chances) * (outputs.logits - outputs.teacher).square()).sum(1)


LOSSES: dict[str, Callable[[Outputs], Tensor]] = {
    "loss": cross_entropy,
    "top1": top1,
    "infonce": info_nce,
    "mse": mean_squared_error,
    "kl": kl_divergence,
    "cosine": cosine_distance,
    "fisher": fisher_error,
}
"""By the names of a surface's columns. ``loss`` is the cross-entropy with the labels, ``top1`` is 1 where correct."""

PERCENT = ("top1",)
"""Losses whose mean is shown in percent."""


def loss_function(name: str) -> Callable[[Outputs], Tensor]:
    """A loss by name; ``infonce@T`` is infoNCE at temperature T.

    Raises:
        UserError: There is no loss of that name.
    """
    base, _, temperature = name.partition("@")
    if name in LOSSES:
        return LOSSES[name]
    try:
        value = float(temperature)
    except ValueError:
        value = 0.0
    if base != "infonce" or not 0.0 < value < float("inf"):
        raise UserError(
            f"unknown loss {name!r}; give some of {', '.join(LOSSES)}, or infonce@T for another temperature"
        )
    return lambda outputs: info_nce(replace(outputs, options=LossOptions(value, outputs.options.batch)))


def loss_names(text: str) -> tuple[str, ...]:
    """Losses from a list with commas, or ``all``; without repetition, in the order given.

    Raises:
        UserError: A name is unknown, or there is none.
    """
    names = tuple(LOSSES) if text == "all" else tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        loss_function(name)
    return names


def per_image(outputs: Outputs) -> dict[str, Tensor]:
    """The losses of `LossOptions.names`, each float64 (N,).

    Raises:
        UserError: A label lies outside the logits.
    """
    classes = outputs.logits.shape[1]
    if len(outputs.labels) and int(outputs.labels.max()) >= classes:
        raise UserError(f"an image has the label {int(outputs.labels.max())}, but the network has {classes} classes")
    with one_thread():
        return {name: loss_function(name)(outputs) for name in outputs.options.names}


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
