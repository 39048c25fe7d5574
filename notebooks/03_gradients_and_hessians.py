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
# # 3. Gradients and Hessians on a jagged surface
#
# "The gradient" of a quantized network has to be named. Between code flips the loss is smooth in a scale, at
# flips it jumps. The *almost-everywhere* derivative ignores the flips; the *straight-through* estimate pretends
# that rounding is the identity; a *finite difference* depends on its step. Which of them tells where the loss
# falls?

# %%
import landscape
from landscape import plots
from landscape.curvature import CurvatureOptions, curvature_study
from landscape.notebook import progress
from landscape.reliability import ReliabilityOptions, reliability_study

problem = landscape.load_problem(model="digits_vit", bits="w4a8", block=5, images=40, progress=progress)

# %% [markdown]
# ## Three gradients at the centre

# %%
for name in ("straight-through", "almost-everywhere"):
    gradient = problem.gradient(problem.centre, "infonce", name)
    print(f"{name:18} length {float(gradient.relative.norm()):.3g}, cost {gradient.cost} images")

# %% [markdown]
# With quantized activations after every layer, the almost-everywhere derivative in a weight scale vanishes.
#
# ## Do they agree with real changes of the loss?

# %%
options = ReliabilityOptions(points=1, directions=8, steps=3, descent_steps=5)
trust = reliability_study(problem, None, options, progress)
plots.draw_reliability(plots.reliability_info(trust))

# %% [markdown]
# Left: cosine between an estimate and finite differences of the real loss, against their step. The dashed line
# compares the finite differences of two halves of the images with each other; no estimate can be expected to do
# better. Right: the loss along a step against the gradient, and along a random direction.
#
# ## Curvature, and how far the quadratic model holds

# %%
small = CurvatureOptions(
    kinds="hessian",
    networks="surrogate",
    eigenvalues=3,
    steps=6,
    probes=1,
    trace_products=0,
    lines=2,
    radii=4,
    dtype="float32",
)
problem = landscape.load_problem(model="digits_vit", bits="w4a8", block=5, images=16, infonce_batch=16)
curvature = curvature_study(problem, small, progress)
plots.draw_spectrum(plots.spectrum_info(curvature))

# %%
plots.draw_fit(plots.fit_info(curvature))

# %% [markdown]
# R^2 of one means that a model predicts the surface; zero, that it is no better than a constant. Below the first
# radius the jumps of single code flips hide the model, above the last it no longer holds.
#
#     landscape reliability --block 5 --out reliability.json
#     landscape curvature --block 5 --out curvature.json
#     landscape plot reliability.json
#     landscape plot curvature.json --kind fit
