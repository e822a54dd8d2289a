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

# %% tags=["parameters"]
run: str = ""  # folder of a run; "" takes what p2c app was asked for, else lists all runs
profile: str = ""  # a profile of p2c.toml; "" takes the run's own

# %%
from p2c_lib import app_page

page = app_page.open_page(run=run, profile=profile)
page.top()

# %%
page.explorer()

# %%
page.outcomes()

# %%
page.money()

# %%
page.reasons()

# %%
page.since()

# %%
page.quality()
