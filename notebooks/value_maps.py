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
# # What could the values mean that no value map knows?
#
# Takes the values that a run could not map, says how many rows and how much money are behind each, and proposes what
# they could mean. What is accepted goes into the site's overlay file, and its effect is shown from the rows that the
# run has kept. Nothing is read from or written to either system; it takes seconds. An entry is written
# `country_to_iso:switzerland=CH`.

# %% tags=["parameters"]
run: str = ""  # the run's folder; "" takes the one that finished last
profile: str = ""  # a profile of p2c.toml; "" takes P2C_PROFILE, else the sandbox
company: str = ""  # F&O legal entity; "" takes the profile's
overlay: str = ""  # file for what is accepted; "" takes the profile's last overlay, else value_maps.yaml
accept: str = ""  # entries to write, as for "p2c values --accept"; several with semicolons between them

# %%
from p2c_lib import values_notebook

shop = values_notebook.look(run=run, profile=profile, company=company, overlay=overlay, accept=accept)

# %% [markdown]
# ## Which values are they, and what could they mean?
#
# A score of 100 is the same text but for case, accents, punctuation and blanks. In a browser each value has a box and a
# button to accept it.

# %%
shop.values()

# %% [markdown]
# ## What would change with those that are certain?
#
# Nothing is written here.

# %%
shop.preview()

# %% [markdown]
# ## What was accepted, and what does it change?

# %%
shop.accept()

# %% [markdown]
# ## What is left?

# %%
shop.finish()
