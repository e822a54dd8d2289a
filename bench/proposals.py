"""Precision and recall of the proposals, on lists of companies and persons that two hands have typed (`labelled.py`).

Weights and thresholds were set on the seeds 1 to 5 and 2,000 rows a side; figures are told of others. Ends badly where
a list comes out below precision 0.99 or recall 0.90.
"""

from __future__ import annotations

import argparse
import sys
import time

import polars as pl
from labelled import KINDS, Labelled, labelled

from p2c_lib.model import find_task, load_templates
from p2c_lib.proposals import find

SEEDS = (101, 102, 103)
PRECISION, RECALL = 0.99, 0.90


def main() -> None:
    """Measure each kind of list with each seed, print a table, and end with 1 where one is past the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="of each side")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--tasks", nargs="+", default=list(KINDS), choices=list(KINDS))
    asked = parser.parse_args()
    print("| task | seed | rows a side | pairs in truth | proposed | precision | recall | ambiguous | seconds |")
    print("| --- | --: | --: | --: | --: | --: | --: | --: | --: |")
    fails = 0
    for task in asked.tasks:
        for seed in asked.seeds:
            lists = labelled(task, asked.rows, seed)
            clock = time.perf_counter()
            pairs = find(lists.source, lists.destination, _evidence(task))
            seconds = time.perf_counter() - clock
            proposed, right = judged(pairs, lists)
            precision, recall = right / max(proposed, 1), right / max(lists.truth.height, 1)
            fails += precision < PRECISION or recall < RECALL
            unsure = pairs.filter(pl.col("status") == "ambiguous").height
            print(
                f"| {task} | {seed} | {asked.rows:,} | {lists.truth.height:,} | {proposed:,} | {precision:.4f} | "
                f"{recall:.4f} | {unsure:,} | {seconds:.1f} |",
                flush=True,
            )
    if fails:
        sys.exit(f"{fails} lists are below precision {PRECISION} or recall {RECALL}")


def judged(pairs: pl.DataFrame, lists: Labelled) -> tuple[int, int]:
    """How many pairs were proposed, and how many of these are in the truth."""
    proposed = pairs.filter(pl.col("status") == "proposed")
    named = pl.DataFrame(
        {
            "source_key": lists.source["key"].gather(proposed["source_row"]),
            "destination_key": lists.destination["key"].gather(proposed["destination_row"]),
        }
    )
    return proposed.height, named.join(lists.truth, on=named.columns, how="semi").height


def _evidence(task: str):  # type: ignore[no-untyped-def] # a script
    return find_task(task, load_templates()).evidence


if __name__ == "__main__":
    main()
