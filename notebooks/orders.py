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
# # Are the orders in step on both sides, to the cent?
#
# Reads the orders of both systems, on their way out (tasks `order_headers_to_fno`, `order_lines_to_fno`) or back
# (`order_headers_to_sales`, `order_lines_to_sales`), maps by the templates and compares; a status behind is a late run,
# one ahead an error.
#
# Nothing is written unless `mode` is `"apply"` and somebody approves. A few hundred rows take seconds, a million some
# minutes; most of it is the services' own time.

# %% tags=["parameters"]
task: str = "order_headers_to_sales"  # also "order_lines_to_sales", "order_headers_to_fno", "order_lines_to_fno"
profile: str = ""  # a profile of p2c.toml; "" takes P2C_PROFILE, else the sandbox
company: str = ""  # F&O legal entity; "" takes the profile's
mode: str = "plan"  # or "apply", which sends the plan that this notebook shows
approved_by: str = ""  # who approves the plan; needed by "apply"
out: str = ""  # folder of the run; "" makes a new one below runs/
sample: int = 10  # rows shown in a table of examples
lag_minutes: int = 0  # how long a change may take to arrive
route: str = "direct"  # or "cds": by way of the store between the two systems
unmask: str = ""  # personal columns to show as they are, by name, commas between
document: str = ""  # number of a document to look into; "" takes the one in which most fields differ

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
# ## How far have the documents come, from quote to cash?
#
# Each side by itself: quotes made, activated and won, orders made, confirmed, shipped and invoiced, and what they are
# worth. A notebook on its own reads the other documents' numbers, statuses and totals for this.

# %%
run.funnel()

# %% [markdown]
# ## Where do the two sides stand apart?
#
# The documents by status. An order of Sales behind F&O is a late run; one ahead of F&O, which decides how far an order is,
# is an error; one that is cancelled on one side only stands apart. Drafts, and what a template leaves out, are rightly on
# one side only.

# %%
run.lifecycle()

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
# ## What is at stake, by reason and currency?

# %%
run.money()

# %% [markdown]
# ## What holds rows up?
#
# A row waits for what it points to: a line for its header, a header for its customer. Each first cause stands here once,
# with all that it holds up.

# %%
run.blocked()

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
# ## Do the documents tie out?
#
# The lines of each document, with charges and tax and less the discount, against its header: on each side, and one side
# against the other. On its own this notebook reads the other task too; in a larger run the overview tells.

# %%
run.documents()

# %% [markdown]
# ## What does one document look like, line by line?
#
# Every field of header and lines: what stands at the source, the rule of the template, what that makes, what stands at
# the destination, and what puts it right.

# %%
run.drill(document)

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
