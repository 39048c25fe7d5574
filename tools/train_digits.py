"""Train the bundled networks on the train part of scikit-learn's digits, and write their weights and records.

    python tools/train_digits.py [--model digits_vit] [--epochs 150] [--seed 0] [--threads 2]

The 797 test digits are looked at once, after the last epoch, to record the accuracy; nothing is selected on them.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time

import torch
from safetensors.torch import save_file
from torch import nn

from landscape.images import ImageSet, load_images
from landscape.models.bundled import (
    BUNDLED,
    DIGITS_CLASSES,
    digits_preprocessing,
    training_record_path,
    weights_path,
)

EPOCHS = {"digits_vit": 150, "digits_cnn": 60}
BATCH = 25
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
WARMUP_EPOCHS = 10
MAX_ROTATION = math.radians(10)
MAX_ZOOM = 0.1
MAX_SHIFT_PIXELS = 0.7


def digits(part: str) -> ImageSet:
    """All digits of "train" or "val", in a fixed order."""
    return load_images(None, "train" if part == "train" else "val", None, 0, digits_preprocessing(), DIGITS_CLASSES)


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rotate, zoom and shift each image (N, 1, H, W) a little; what comes in from outside is black."""

    def uniform(limit: float) -> torch.Tensor:
        return (torch.rand(len(images), generator=generator) * 2 - 1) * limit

    angle, zoom = uniform(MAX_ROTATION), 1 + uniform(MAX_ZOOM)
    shift = 2 * MAX_SHIFT_PIXELS / images.shape[-1]
    cosine, sine = angle.cos() * zoom, angle.sin() * zoom
    rows = torch.stack([cosine, -sine, uniform(shift), sine, cosine, uniform(shift)], dim=1)
    grid = nn.functional.affine_grid(rows.view(-1, 2, 3), list(images.shape), align_corners=False)
    black = images.amin()
    return nn.functional.grid_sample(images - black, grid, align_corners=False) + black


def learning_rate_factor(epoch: int, epochs: int) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    if epoch < WARMUP_EPOCHS:
        return (epoch + 1) / WARMUP_EPOCHS
    return 0.5 * (1 + math.cos(math.pi * (epoch - WARMUP_EPOCHS) / (epochs - WARMUP_EPOCHS)))


def train(name: str, epochs: int, seed: int) -> nn.Module:
    """Train one network from random weights, and return it in eval mode."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = BUNDLED[name]().train()
    train_set = digits("train")
    images, labels = train_set.normalized(), train_set.labels
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: learning_rate_factor(epoch, epochs))
    criterion = nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
    for epoch in range(epochs):
        total = 0.0
        for batch in torch.split(torch.randperm(len(images), generator=generator), BATCH):
            optimizer.zero_grad()
            loss = criterion(network(augment(images[batch], generator)), labels[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        scheduler.step()
        if epoch % 20 == 19:
            print(f"{name} epoch {epoch + 1}/{epochs}: training loss {total / len(images):.4f}", file=sys.stderr)
    return network.eval()


@torch.no_grad()
def test(network: nn.Module) -> tuple[float, float]:
    """Return top-1 in percent and mean cross-entropy in nats on the test digits."""
    test_set = digits("val")
    logits = network(test_set.normalized())
    top1 = (logits.argmax(1) == test_set.labels).double().mean().item() * 100
    return top1, nn.functional.cross_entropy(logits.double(), test_set.labels).item()


def train_and_save(name: str, epochs: int, seed: int) -> None:
    """Train, write weights and record, and print what the record says."""
    start = time.perf_counter()
    network = train(name, epochs, seed)
    accuracy, loss = test(network)
    record = {
        "model": name,
        "seed": seed,
        "epochs": epochs,
        "test_accuracy": round(accuracy, 3),
        "test_loss": round(loss, 5),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "torch": torch.__version__,
    }
    weights_path(name).parent.mkdir(exist_ok=True)
    save_file(network.state_dict(), weights_path(name))
    training_record_path(name).write_text(json.dumps(record, indent=2) + "\n")
    print(f"{json.dumps(record)} in {time.perf_counter() - start:.0f} s")


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", choices=list(BUNDLED), help="train only this one")
    parser.add_argument("--epochs", type=int, help=f"default: {EPOCHS}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="more are slower on networks this small")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in [options.model] if options.model else list(BUNDLED):
        train_and_save(name, options.epochs or EPOCHS[name], options.seed)


if __name__ == "__main__":
    main()
