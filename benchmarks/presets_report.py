"""The tables of `benchmarks.presets`, in Markdown, from the stored rows alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from landscape.bootstrap import bootstrap_interval
from landscape.quant.scheme import Scheme, preset

Row = dict[str, Any]

DEPTHWISE = ("mobilenetv1",)
"""Networks with depthwise convolutions."""

HEAD = """# Presets, measured

Written by `python -m benchmarks.presets`; the rows with all settings, versions and per-image results are in
[presets.json](presets.json). Values are exact (see `docs/scheme.md`), so they do not depend on engine, batch size or
machine.

Caveats of the data: the 1,000 ImageNet validation images are an easier sample than all 50,000 (DeiT-Tiny: 72.2 %
there), and one percent of them is ten images; DeiT-Tiny's LayerNorm weights and biases come rounded to 8-bit fixed
point; the CIFAR-10 images lost some quality to JPEG, which costs the ResNets about ten points.
"""

TABLE = """
## Top-1 on test images

All test images; {calibration} training images for calibration (drawn by seed 0) unless the row says another number.
Evaluated exactly. In parentheses the difference to the float network, its paired 95 % bootstrap interval over images
(10,000 draws).
"""

CHOICE = """
## Which parts make the default preset

Chosen on calibration data only: quantizers calibrated on 200 training images, distance from the float network measured
on 200 *other* training images. No test image and no label takes part. Columns: Kullback-Leibler divergence from the
float network's class probabilities (mean, nats), in brackets its paired 95 % interval of the difference to the default
preset; infoNCE (T = 3, batches of 100), and mean squared error of the logits. A row is weight observer / bias
correction / activation observer; rows called "base" are the default preset with one other part changed.
"""

READING = """
How the default was chosen. No combination is best on every network, and the default is the one that does well on the
transformer, which the study is about. Weights: each channel's own shrink ratio (`omse`) or one ratio a layer
(`omse-shared`) is ahead of MinMax at 3 bits on DeiT-Tiny, MobileNetV1 and ResNet-20, but behind MinMax with corrected
outputs on ResNet-56 (KL 0.17 against 0.52). Between the two, `omse` is ahead on DeiT-Tiny at 4 bits and on MobileNetV1,
`omse-shared` on ResNet-56 at 3 bits and, by five percent, in the mean over all; the rest lies within the intervals.
Activations: OMSE, percentiles and moving averages change nothing that 200 images could show, or harm, so they keep
MinMax. Power-of-two factors and the uniform softmax are better than the alternatives on the transformer; the integer
LayerNorm makes no difference.

Bias correction: that of the weights is ahead on the transformer and ResNet-20, at 3 bits beyond the intervals. On
MobileNetV1, whose depthwise kernels have nine weights each, it is far behind correction of the output mean (KL 4.0
against 0.7 at 4 bits). So the default's `auto` corrects the output mean where a network has depthwise convolutions, and
the weights elsewhere.
"""


def report(rows: Mapping[str, Row], titles: Mapping[str, str]) -> str:
    """The whole file.

    Args:
        rows: As stored, by key.
        titles: Of the networks.
    """
    parts = [HEAD]
    table = [row for key, row in rows.items() if key.startswith("table/")]
    if table:
        parts.append(TABLE.format(calibration=200))
        parts += [_top1_table(titles[name], _of(table, name)) for name in titles if _of(table, name)]
    choice = [row for key, row in rows.items() if key.startswith("choose/")]
    if choice:
        parts.append(CHOICE)
        parts.append(_ranking(choice) + READING)
        for name in titles:
            for bits in dict.fromkeys(_weight_and_activation_bits(row) for row in _of(choice, name)):
                found = [row for row in _of(choice, name) if _weight_and_activation_bits(row) == bits]
                parts.append(_choice_table(f"{titles[name]}, {bits}", found))
    return "\n".join(parts)


def _of(rows: list[Row], name: str) -> list[Row]:
    return [row for row in rows if row["network"] == name]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(header: list[str], body: list[list[str]]) -> str:
    return "\n".join([_line(header), _line(["---"] * len(header)), *(_line(row) for row in body)]) + "\n"


def _weight_and_activation_bits(row: Row) -> str:
    return f"w{row['settings']['weight_bits']}a{row['settings']['activation_bits']}"


def _top1_table(title: str, rows: list[Row]) -> str:
    bits = sorted({_weight_and_activation_bits(row) for row in rows}, reverse=True)
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        difference = row["top1"] - row["float_top1"]
        label = row["label"]
        if row["settings"]["calibration"] != 200:
            label += f", {row['settings']['calibration']} images"
        text = f"{row['top1']:.1f} ({difference:+.1f}; {row['low']:+.1f} to {row['high']:+.1f})"
        cells.setdefault(label, {})[_weight_and_activation_bits(row)] = text
    body = [[label, *(found.get(each, "-") for each in bits)] for label, found in cells.items()]
    head = f"### {title}: float {rows[0]['float_top1']:.1f} on {rows[0]['images']:,} images"
    return f"{head}\n\n" + _table(["preset", *bits], body)


def default_of(network: str, bits: str) -> Scheme:
    """The default preset as a network gets it: its automatic bias correction decided."""
    correction = "output" if network in DEPTHWISE else "weight"
    return replace(preset("default").with_bits(bits), bias_correction=correction)


def _is_default(row: Row) -> bool:
    own = default_of(row["network"], row["bits"]).to_dict()
    return all(row["settings"].get(name) == value for name, value in own.items())


def _choice_table(title: str, rows: list[Row]) -> str:
    base = next((row for row in rows if _is_default(row)), None)
    body = []
    for row in sorted(rows, key=lambda found: float(found["kl"])):
        interval = ""
        if base is not None and row is not base:
            difference = np.array(row["per_image"]["kl"]) - np.array(base["per_image"]["kl"])
            low, high = bootstrap_interval(difference[None], 0.95, 10_000, 0)
            interval = f" [{low[0]:+.4f}, {high[0]:+.4f}]"
        label = f"**{row['label']}** (default)" if row is base else row["label"]
        body.append([label, f"{row['kl']:.4f}{interval}", f"{row['infonce']:.4f}", f"{row['mse']:.4f}"])
    return f"### {title}\n\n" + _table(["parts", "KL", "infoNCE", "MSE"], body)


def _ranking(rows: list[Row]) -> str:
    """Geometric mean over networks and bits of KL relative to the best of each, for the rows that all have.

    Networks and bits that are not measured in full yet are left out.
    """
    groups: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        groups.setdefault((row["network"], _weight_and_activation_bits(row)), {})[row["label"]] = row["kl"]
    for (network, _), found in groups.items():
        chosen = "output" if network in DEPTHWISE else "weight"
        found |= {
            label.replace(f"/ {chosen} /", "/ auto /"): kl for label, kl in found.items() if f"/ {chosen} /" in label
        }
    most = max(len(found) for found in groups.values())
    groups = {key: found for key, found in groups.items() if len(found) >= most - 4}  # DeiT has 4 rows more
    common = set.intersection(*(set(found) for found in groups.values()))
    body = []
    for label in common:
        ratios = [found[label] / min(found[each] for each in common) for found in groups.values()]
        body.append((float(np.exp(np.mean(np.log(ratios)))), max(ratios), label))
    lines = [[label, f"{mean:.3f}", f"{worst:.3f}"] for mean, worst, label in sorted(body)]
    text = f"### Together: {', '.join(f'{name} {bits}' for name, bits in groups)}\n\n"
    text += "KL as a multiple of the best of each network and bits.\n\n"
    return text + _table(["parts", "geometric mean", "worst"], lines)
