"""Losses against plain loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from landscape.errors import UserError
from landscape.losses import LOSSES, LossOptions, Outputs, loss_function, loss_names, means, per_image

COUNT, CLASSES = 23, 5


def outputs(count: int = COUNT, **options: object) -> Outputs:
    generator = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(2, count, CLASSES, generator=generator, dtype=torch.float64) * 2
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    return Outputs(logits, labels, teacher, LossOptions(**options))  # type: ignore[arg-type]


def softmax(row: Tensor) -> list[float]:
    powers = [math.exp(x) for x in row.tolist()]
    return [p / sum(powers) for p in powers]


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def one_image(name: str, out: Outputs, i: int) -> float:
    q, f, label = out.logits[i], out.teacher[i], int(out.labels[i])
    p, student = softmax(f), softmax(q)
    difference = (q - f).tolist()
    expected = {
        "loss": -math.log(student[label]),
        "top1": float(max(range(CLASSES), key=lambda k: float(q[k])) == label),
        "mse": sum(d * d for d in difference) / CLASSES,
        "kl": sum(a * math.log(a / b) for a, b in zip(p, student, strict=True)),
        "cosine": 1 - cosine(q, f),
        "fisher": sum(a * (1 - a) * d * d for a, d in zip(p, difference, strict=True)),
    }
    return expected[name]


@pytest.mark.parametrize("name", ["loss", "top1", "mse", "kl", "cosine", "fisher"])
def test_losses_equal_plain_loops(name: str) -> None:
    out = outputs()
    values = loss_function(name)(out)
    for i in range(COUNT):
        assert float(values[i]) == pytest.approx(one_image(name, out, i), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("temperature", [3.0, 0.07])
def test_infonce_contrasts_within_batches_of_nearly_equal_size(temperature: float) -> None:
    out = outputs(temperature=temperature, batch=8)  # 23 images: batches of 8, 8 and 7
    values = loss_function("infonce")(out)
    for members in (range(8), range(8, 16), range(16, 23)):
        for i in members:
            powers = [math.exp(cosine(out.logits[i], out.teacher[j]) / temperature) for j in members]
            own = math.exp(cosine(out.logits[i], out.teacher[i]) / temperature)
            assert float(values[i]) == pytest.approx(-2 * temperature * math.log(own / sum(powers)), rel=1e-12)


def test_infonce_at_another_temperature_is_a_loss_of_its_own() -> None:
    out = outputs(temperature=3.0)
    assert torch.equal(loss_function("infonce@0.5")(out), LOSSES["infonce"](outputs(temperature=0.5)))
    assert torch.equal(loss_function("infonce@3")(out), LOSSES["infonce"](out))


@pytest.mark.parametrize("name", ["mse", "kl", "cosine", "fisher"])
def test_distances_to_the_teacher_vanish_at_the_teacher(name: str) -> None:
    out = outputs()
    same = Outputs(out.teacher, out.labels, out.teacher, out.options)
    assert float(loss_function(name)(same).abs().max()) < 1e-12


def test_kl_and_infonce_do_not_change_with_a_shift_or_a_scale_that_they_ignore() -> None:
    out = outputs()
    shifted = Outputs(out.logits + 7.0, out.labels, out.teacher, out.options)
    scaled = Outputs(out.logits * 2.5, out.labels, out.teacher, out.options)
    torch.testing.assert_close(loss_function("kl")(shifted), loss_function("kl")(out), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(loss_function("infonce")(scaled), loss_function("infonce")(out), rtol=1e-12, atol=0)


def test_of_equal_largest_logits_the_first_counts() -> None:
    logits = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
    out = Outputs(logits, torch.tensor([0, 1]), logits, LossOptions())
    assert LOSSES["top1"](out).tolist() == [1.0, 0.0]


def test_the_losses_asked_for_are_computed_in_their_order_and_top1_is_in_percent() -> None:
    values = per_image(outputs(names=("kl", "top1")))
    assert list(values) == ["kl", "top1"]
    assert means(values)["top1"] == pytest.approx(100 * float(values["top1"].mean()))


def test_names_come_from_a_list_or_all() -> None:
    assert loss_names("all") == tuple(LOSSES)
    assert loss_names("loss, infonce@0.5,loss") == ("loss", "infonce@0.5")


@pytest.mark.parametrize("text", ["los", "infonce@", "infonce@0", "infonce@-1", "infonce@inf", "loss@2", ""])
def test_unknown_losses_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="unknown loss"):
        loss_names(text)


def test_a_label_beyond_the_classes_is_refused() -> None:
    out = outputs()
    with pytest.raises(UserError, match="has the label 9, but the network has 5 classes"):
        per_image(Outputs(out.logits, torch.full((COUNT,), 9), out.teacher, out.options))
