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
# # What does a load into an empty system take, and what is left of it?
#
# Reads the keys of both sides, says what would be sent, and with a name in `approve_by` sends it, range by range of the
# keys; rows that are there and equal are left as they are. Writes to the destinations only then. Planning takes minutes
# for a million rows; sending takes what the services allow.

# %% tags=["parameters"]
tasks: str = "products, accounts, contacts, contacts_to_customer"  # in any order; "" for all of the direct route
profile: str = ""  # a profile of p2c.toml; "" takes P2C_PROFILE, else the sandbox
company: str = ""  # F&O legal entity; "" takes the profile's
approve_by: str = ""  # who approves the plan; "" and nothing is sent
resume: str = ""  # the folder of a load that was cut off; "" plans a new one
update: str = "no"  # or "yes": rows that are there and differ are changed as well
bucket_rows: int = 15000  # about how many rows are held in memory at a time

# %%
from p2c_lib import load_notebook

loading = load_notebook.begin(
    tasks=tasks,
    profile=profile,
    company=company,
    approve_by=approve_by,
    resume=resume,
    update=update,
    bucket_rows=bucket_rows,
)

# %% [markdown]
# ## Are both systems ready?

# %%
loading.ready()

# %% [markdown]
# ## What would be sent?
#
# Rows of both sides, how many of the source's flow, how many of these are there already, and how many are to be made.

# %%
loading.plan()

# %% [markdown]
# ## How far has it come?

# %%
loading.watch()

# %% [markdown]
# ## What is left?
#
# What is not in step after all, with the reason, and the service's own words where it refused a row.

# %%
loading.left()

# %% [markdown]
# ## What was done?

# %%
loading.finish()
