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

# %%
from p2c_lib import notebook

whole = notebook.overview(run=run, profile=profile, company=company)

# %% [markdown]
# ## What became of every row?

# %%
whole.outcomes()

# %% [markdown]
# ## What is at stake?

# %%
whole.money()

# %% [markdown]
# ## Do the documents tie out?
#
# The lines of quotes, orders and invoices, with charges and tax and less the discount, against their header: on each
# side, and one side against the other.

# %%
whole.documents()

# %% [markdown]
# ## Why do rows and fields differ, and what puts them right?

# %%
whole.reasons()

# %% [markdown]
# ## What was found?

# %%
whole.finish()
