# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How good are the data?
#
# Looks at the expectations of one run: a score for each task, side and dimension, what changed since the last run, the
# columns that are worst. Nothing is read from either system; it takes seconds.

# %% tags=["parameters"]
# Two lines, as IPython takes a cell of one line that begins with this name for its command %run.
run: str = ""  # folder of a run; "" takes the newest one

# %%
from p2c_lib import quality_notebook

data = quality_notebook.judge(run=run)

# %% [markdown]
# ## How good is each side, and in what?
#
# Complete: values are there. Unique: keys are not repeated. Valid: values are of the right form. Consistent: values go
# together. Timely: rows have come in time. What the source becomes by the template stands between the two sides.

# %%
data.scores()

# %% [markdown]
# ## Which columns are worst?

# %%
data.worst()

# %% [markdown]
# ## Which expectations were not met, and by which rows?

# %%
data.failed()

# %% [markdown]
# ## Where is all of it?

# %%
data.finish()
