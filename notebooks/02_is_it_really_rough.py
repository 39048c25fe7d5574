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
# # 2. Is it really rough?
#
# The loss of a quantized network looks jagged along its scales. But it is measured on a sample of images, and
# every perturbation draws each image's rounding anew. What would be seen again on other images? That part
# *replicates*; the rest is the noise of the sample.

# %%
import landscape
from landscape import plots
from landscape.notebook import progress

problem = landscape.load_problem(
    model="digits_vit", bits="w3a8", block=1, infonce_batch=20, losses="loss,top1,infonce,mse", progress=progress
)
line = landscape.scan(problem, dims=1, points=41, radius=0.4, progress=progress)
len(problem.images)

# %% [markdown]
# ## Two halves of the images
#
# The same line from two disjoint halves of the images. What they share is the landscape; half their difference is
# as large as the noise in the curve of all images.

# %%
plots.draw_floor(plots.floor_info(line, "loss"))

# %%
plots.draw_floor(plots.floor_info(line, "mse"))

# %% [markdown]
# The lowest panel takes the curve apart by wavelength: which share of its power replicates. The orange curve
# keeps only that share of each band.

# %%
line.replication("mse")

# %% [markdown]
# ## Numbers with a floor
#
# Squared measures can be corrected without bias: from the measured one, subtract what the choice of images adds.
# What is left estimates the population's, with an interval.

# %%
line.noise_floor("loss")

# %%
line.roughness("mse", draws=300)

# %% [markdown]
# A surface is called rough only if it is more jagged than noise makes a bowl:

# %%
{name: line.roughness(name, draws=100).rough for name in ("loss", "top1", "infonce", "mse")}

# %% [markdown]
# ## More images
#
# The sample's part falls as one over the number of images. On fewer images any surface looks rougher than it is.

# %%
for images in (100, 200, len(problem.images)):
    found = line.noise_floor("mse", images=images)["jaggedness"]
    print(
        f"{images:4d} images: measured {found.measured:.3g}, population {found.estimate:.3g}, floor {found.floor:.3g}"
    )

# %% [markdown]
# ## All losses side by side

# %%
plots.draw_losses(plots.losses_info(line))
