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
# # 1. A first landscape
#
# A network is quantized by choosing *scales*. We move the scales of one attention block of a small bundled vision
# transformer and look at the loss. Everything here runs on a laptop in less than a minute.

# %%
import landscape
from landscape import plots
from landscape.notebook import progress

problem = landscape.load_problem(model="digits_vit", bits="w4a8", block=5, images=300, progress=progress)
problem.space.names, problem.space.dimension

# %% [markdown]
# The **problem** is a quantized network, the scales that may move, test images and losses. Its **centre** is the
# calibrated network. A **point** is a vector of scales, reached from the centre by a **coordinate** alpha along a
# **direction** d: s = s0 exp(alpha d). With d of unit RMS, alpha = 0.05 moves the scales by about 5 %.
#
# ## A line

# %%
line = landscape.scan(problem, dims=1, points=31, radius=0.1, progress=progress)
line

# %%
line.plot("loss")

# %% [markdown]
# The band is a paired bootstrap interval over the test images, of each point's difference to the centre. Where it
# holds the centre's value, the grey line, these images do not show a difference. Below: the share of integer codes
# that differ from the centre's. With the bias correction of this scheme the network changes only where a code flips.

# %%
low, high = line.interval("loss")
beyond = int(((low > 0) | (high < 0)).sum())
print(f"{beyond} of {low.size} points differ from the centre by more than their interval")

# %%
line.to_dataframe().round(4).head()

# %% [markdown]
# ## A plane

# %%
plane = landscape.scan(problem, dims=2, points=11, radius=0.3, progress=progress)
plane.plot("infonce")

# %% [markdown]
# The best point is the best of 121 on these very images: part of its lead is luck. Notebook 2 is about how much.

# %%
plots.draw_surface_3d(plots.surface_info(plane, plane.names), "infonce")

# %%
plots.draw_flips(plots.flips_info(plane, "infonce"))

# %% [markdown]
# On the screen, with buttons for the value and hover values:

# %%
plane.plotly("infonce")

# %% [markdown]
# ## What is quantized, and what is not

# %%
problem.network.scheme, problem.network.float_parts()[:4]

# %% [markdown]
# The same from the command line, stored in a run folder that survives a crash:
#
#     landscape scan --block 5 --dims 2 --points 11 --radius 0.3 --images 300 --out runs/plane
#     landscape plot runs/plane --kind surface --value infonce
#     landscape report runs/plane --out report.html
