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
# # 4. Evol-Q against the others
#
# Optimizers move the scales to lower a loss on *search* images, drawn from the training set. The test images are
# looked at once, at the end. Everybody gets the same budget, counted in images through the full quantized
# network; a gradient costs what it costs.

# %%
import evolq
from landscape import plots
from landscape.notebook import progress

study = evolq.load_study(
    model="digits_vit",
    bits="w3a8",
    block=1,
    images=200,
    search_images=100,
    budget=4000,
    keep_points=True,
    progress=progress,
)
evolq.method_names()

# %%
found = [
    evolq.optimize(study, method, search_seed=seed, progress=progress)
    for method in ("evolq/released", "random", "cmaes", "adam")
    for seed in (0, 1)
]
trajectories = [each.trajectory for each in found]
found[0]

# %% [markdown]
# ## Loss against budget

# %%
plots.draw_convergence(plots.convergence_info(trajectories, "digits_vit, w3a8"))

# %% [markdown]
# ## What came out, on search and on test images

# %%
plots.draw_methods(plots.methods_info(trajectories, "loss", "digits_vit, w3a8"))

# %% [markdown]
# A lower loss on the search images need not be one on the test images: an optimizer walks on the sum of the
# landscape and the noise of its sample (notebook 2).
#
# ## Where they went
#
# The paths, seen from above, on the plane that holds most of their moves, over the loss of the search images on
# that plane. A larger dot lies farther off the plane, and there the surface says little.

# %%
below = plots.surface_below(study.search, trajectories, points=7, progress=progress)
paths = plots.trajectories_info(trajectories, value="infonce", title="digits_vit, w3a8", below=below)
plots.draw_trajectories(paths)

# %% [markdown]
#     landscape compare --bits w3a8 --block 1 --images 200 --search-images 100 --budget 4000 \
#         --methods evolq/released,random,cmaes,adam --seeds 2 --keep-points --out runs/compare
#     landscape plot runs/compare --kind convergence
#     landscape plot runs/compare --kind animation
