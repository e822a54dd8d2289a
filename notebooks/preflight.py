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
# # Are both systems ready for Prospect to cash?
#
# Signs in to both systems and checks versions, the solution with its columns and keys, pricing settings, units, price
# lists, the constants of the templates, duplicate numbers, privileges and every column of every template. Reads only;
# takes seconds, more where there are many accounts.

# %% tags=["parameters"]
profile: str = ""  # a profile of p2c.toml; "" takes P2C_PROFILE, else the sandbox
company: str = ""  # F&O legal entity; "" takes the profile's

# %%
from p2c_lib import notebook

# %% [markdown]
# ## What was found, what is needed, and what is to be done?
#
# What no interface can tell is listed as *by hand*, with the place in the menu.

# %%
notebook.preflight(profile=profile, company=company)
