# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5. Your own model, data, loss and optimizer
#
# Everything is open for your own parts: a network is a function that returns a `torch.nn.Module`, images are a
# folder, a loss is a function, an optimizer a class with `ask` and `tell`.

# %%
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

import evolq
import landscape
from landscape.losses import LOSSES
from landscape.notebook import progress

work = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Data
#
# `train/<class>/*` for calibration and search, `val/<class>/*` for testing, as in ImageNet.

# %%
digits = load_digits()
for number, (pixels, label) in enumerate(zip(digits.images[:600], digits.target[:600], strict=True)):
    folder = work / "data" / ("train" if number < 300 else "val") / str(label)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * 15.9).astype(np.uint8)).convert("RGB").save(folder / f"{number}.png")

# %% [markdown]
# ## A network
#
# In a file of its own, so that the command line finds it too. It is trained here in a few seconds.

# %%
(work / "net.py").write_text("""
from torch import nn


def factory():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )
""")

# %%
import sys

sys.path.insert(0, str(work))
from net import factory

torch.manual_seed(0)
network = factory()
pixels = torch.from_numpy(np.repeat(digits.images[:300, None] / 16, 3, axis=1)).float()
labels = torch.from_numpy(digits.target[:300])
optimizer = torch.optim.Adam(network.parameters(), 0.01)
for _ in range(60):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(network((pixels - 0.5) / 0.5), labels).backward()
    optimizer.step()
torch.save(network.eval().state_dict(), work / "net.pt")

# %% [markdown]
# ## A loss
#
# A function of the quantized logits, the labels and the float network's logits, with one value for each image.


# %%
def margin(outputs):
    """How far the right logit is behind the best wrong one, at least 0."""
    wrong = outputs.logits.clone()
    wrong[torch.arange(len(wrong)), outputs.labels] = -torch.inf
    right = outputs.logits[torch.arange(len(wrong)), outputs.labels]
    return (1 + wrong.amax(1) - right).clamp(min=0)


LOSSES["margin"] = margin

# %%
own = dict(
    model=f"{work / 'net.py'}:factory",
    weights=str(work / "net.pt"),
    data=str(work / "data"),
    resize="none",
    crop=8,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    layers="*",
    bits="w4a8",
)
problem = landscape.load_problem(**own, losses="loss,top1,margin", progress=progress)
surface = landscape.scan(problem, dims=1, points=21, radius=0.2, progress=progress)
surface.plot("margin")

# %% [markdown]
# ## An optimizer
#
# It asks for points in relative coordinates (0.01 is one percent for every scale) and is told their values.


# %%
class Climb(evolq.Optimizer):
    """Go wherever it is better."""

    def start(self):
        self.here, self.value = np.zeros(self.space.dimension), np.inf

    def ask(self):
        step = self.generator.normal(0.0, 0.02, self.space.dimension)
        return evolq.Query((self.here + step)[None])

    def tell(self, answer):
        better = bool(answer.values[0] < self.value)
        if better:
            self.here, self.value = answer.query.points[0], float(answer.values[0])
        return [better]


# %% [markdown]
# In a file, `landscape optimize --method climb.py:Climb` runs it. Here we drive it by hand:

# %%
study = evolq.load_study(**own, losses="loss,top1", loss="mse", search_images=100, budget=4000, progress=progress)
objective = study.objective(evolq.SpaceOptions(scales="weights"))
driver = evolq.Driver(objective, Climb(objective.info), 4000)
point = driver.run()
print(
    f"mse {driver.course.steps[0].value:.5f} -> {driver.course.steps[-1].best:.5f} after {driver.course.spent} images"
)
