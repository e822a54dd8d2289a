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
# # Are the two systems in step?
#
# Looks at one run over all its tasks. With no folder given, it runs every task now; that only reads.

# %% tags=["parameters"]
run: str = ""  # folder of a run; "" runs every task now
profile: str = ""  # a profile of p2c.toml; "" takes P2C_PROFILE, else the sandbox
company: str = ""  # F&O legal entity; "" takes the profile's
task: str = ""  # a task whose document to look into; "" takes one of each kind
document: str = ""  # its number; "" takes the one in which most fields differ

# %%
from p2c_lib import overview

whole = overview.look(run=run, profile=profile, company=company)

# %% [markdown]
# ## What became of every row?

# %%
whole.outcomes()

# %% [markdown]
# ## How far have the documents come, from quote to cash?
#
# Each side by itself: quotes made, activated and won, orders made, confirmed, shipped and invoiced, and what they are
# worth.

# %%
whole.funnel()

# %% [markdown]
# ## Where do the two sides stand apart?
#
# The documents by status. An order of Sales behind F&O is a late run; one ahead of F&O, which decides how far an order is,
# is an error; one that is cancelled on one side only stands apart. Drafts, and what a template leaves out, are rightly on
# one side only.

# %%
whole.lifecycle()

# %% [markdown]
# ## What is at stake, by task?

# %%
whole.money()

# %% [markdown]
# ## What is at stake, by reason?

# %%
whole.amounts()

# %% [markdown]
# ## What holds rows up?
#
# A row waits for what it points to: a line for its header, a header for its customer. Each first cause stands here once,
# with all that it holds up.

# %%
whole.blocked()

# %% [markdown]
# ## Do the documents tie out?
#
# The lines of quotes, orders and invoices, with charges and tax and less the discount, against their header: on each
# side, and one side against the other.

# %%
whole.documents()

# %% [markdown]
# ## What do the documents in which most fields differ look like, line by line?

# %%
whole.drill(task, document)

# %% [markdown]
# ## Why do rows and fields differ, and what puts them right?

# %%
whole.reasons()

# %% [markdown]
# ## Since when?
#
# Rows and fields that differ: new in this run, back after they were gone, open since an earlier run, or fixed. The
# notebook `history` goes through all runs.

# %%
whole.since()

# %% [markdown]
# ## What do the templates do that one would not expect?
#
# Known quirks, counted apart: where the destination has what one would expect instead, that is no error.

# %%
whole.quirks()

# %% [markdown]
# ## Which records are these, and which of them should be sent?
#
# Live: filter by anything, sort, open a record, tick records or all that a filter finds, plan them, approve the plan in
# your name and apply it. Ticks are kept with the run. Without a kernel this is the first page.

# %%
whole.explore()

# %% [markdown]
# ## How good are the data?
#
# A score for each task, side and dimension, from the expectations. The notebook `quality` goes into detail.

# %%
whole.quality()

# %% [markdown]
# ## What was found?

# %%
whole.finish()
