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
# # Are the products in Sales those that F&O sells?
#
# Reads the sellable released products of one F&O company and the products in Sales, maps the former by the template
# `products` and compares.
#
# Nothing is written unless `mode` is `"apply"` and somebody approves. A few hundred rows take seconds, a million some
# minutes; most of it is the services' own time.

# %% tags=["parameters"]
task: str = "products"  # the task that brings products over
profile: str = ""  # a profile of p2c.toml; "" takes P2C_PROFILE, else the sandbox
company: str = ""  # F&O legal entity; "" takes the profile's
mode: str = "plan"  # or "apply", which sends the plan that this notebook shows
approved_by: str = ""  # who approves the plan; needed by "apply"
out: str = ""  # folder of the run; "" makes a new one below runs/
sample: int = 10  # rows shown in a table of examples
lag_minutes: int = 0  # how long a change may take to arrive
route: str = "direct"  # or "cds": by way of the store between the two systems
unmask: str = ""  # personal columns to show as they are, by name, commas between

# %%
from p2c_lib import notebook

run = notebook.start(
    task=task,
    profile=profile,
    company=company,
    mode=mode,
    approved_by=approved_by,
    out=out,
    sample=sample,
    lag_minutes=lag_minutes,
    route=route,
    unmask=unmask,
)

# %% [markdown]
# ## What is supposed to happen to each field?

# %%
run.rules()

# %% [markdown]
# ## What do the two systems hold?

# %%
run.pull()

# %% [markdown]
# ## Do they agree?
#
# Every row gets one outcome. A key that is blank, padded or used twice is set apart before anything is joined.

# %%
run.outcomes()

# %% [markdown]
# ## Is the data itself sound?
#
# The same rows held against the expectation suites of the source, of what the mapping makes of it, and of the destination.

# %%
run.validate()

# %% [markdown]
# ## Why do rows and fields differ, and what puts them right?

# %%
run.reasons()

# %% [markdown]
# ## Which fields differ most?

# %%
run.fields()

# %% [markdown]
# ## What does a difference look like?

# %%
run.examples()

# %% [markdown]
# ## Through CDS: on which leg was it lost?

# %%
run.three_way()

# %% [markdown]
# ## Which values does no value map know?

# %%
run.unmapped()

# %% [markdown]
# ## What would a write send?

# %%
run.plan()

# %%
run.apply()

# %% [markdown]
# ## Which records are these, and which of them should be sent?
#
# Live: filter by anything, sort, open a record, tick records or all that a filter finds, plan them, approve the plan in
# your name and apply it. Ticks are kept with the run. Without a kernel this is the first page.

# %%
run.explore()

# %% [markdown]
# ## What was found?

# %%
run.finish()
