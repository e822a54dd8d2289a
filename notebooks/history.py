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
# # What came, what went, what stays?
#
# Looks at all runs that are kept: since when a difference stands, what is new, what was put right and what came back.
# Nothing is read from either system; it takes seconds.

# %% tags=["parameters"]
task: str = ""  # one task alone; "" all of them
run: str = ""  # as one could see it after that run; "" after the newest
profile: str = ""  # a profile of p2c.toml; "" takes P2C_PROFILE, else the sandbox
company: str = ""  # F&O legal entity; "" takes the profile's

# %%
from p2c_lib import past

back = past.look_back(task=task, run=run, profile=profile, company=company)

# %% [markdown]
# ## Is it getting better?
#
# The findings of each run: rows that stand alone and fields that differ. Above the line what a run found, below it what
# was gone since the run before. A task that failed says nothing, so nothing of it is fixed.

# %%
back.trend()

# %% [markdown]
# ## What was at stake?

# %%
back.money()

# %% [markdown]
# ## What is new, what is back, what is fixed, by task?

# %%
back.states()

# %% [markdown]
# ## What stands open longest?

# %%
back.oldest()

# %% [markdown]
# ## What came back after it had been put right?

# %%
back.reopened()

# %% [markdown]
# ## What was found?

# %%
back.finish()
