"""A small store, and a writer to it that runs as a process of its own: ``store_world.py URL COLUMN FIRST ROUNDS``."""

from __future__ import annotations

import sys

import polars as pl

from p2c_lib.store.entities import read_entities
from p2c_lib.store.tables import Store

SMALL = read_entities(
    """
entities:
  Thing:
    organization: Org
    key: [Id, Line]
    columns:
      Org: {type: text, length: 20}
      Id: {type: text, length: 10}
      Line: {type: whole}
      Kind: {type: picklist, values: [Good, Bad]}
      Amount: {type: amount}
      Left: {type: whole}
      Right: {type: whole}
"""
)


def lines(*rows, **more):
    return pl.DataFrame(
        [{"Id": i, "Line": n} for i, n in rows], schema={"Id": pl.String, "Line": pl.Int32}
    ).with_columns(*(pl.Series(name, values, dtype=SMALL["Thing"].schema[name]) for name, values in more.items()))


def write(url, column, first, rounds):
    """Merge 20 rows that all writers share and one of its own, as often as asked; print each version."""
    store = Store.open(url, "ORG001", entities=SMALL)
    for number in range(first, first + rounds):
        rows = [("D", line) for line in range(20)] + [(column, number)]
        merged = store.merge("Thing", lines(*rows, **{column: [number] * 21}), run_id=f"{column}{number}")
        print(merged.version, flush=True)


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
