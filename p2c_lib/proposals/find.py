"""Two lists of rows to pairs that look like the same customer. Pure: frames in, a frame out."""

from __future__ import annotations

import polars as pl

from p2c_lib.model import Evidence
from p2c_lib.proposals.blocking import candidate_pairs
from p2c_lib.proposals.choice import choose
from p2c_lib.proposals.records import records
from p2c_lib.proposals.weights import evidence_of, rarities

__all__ = ["PAIRS", "find", "weighed"]

PAIRS = pl.Schema(
    {
        "source_row": pl.UInt32(),
        "destination_row": pl.UInt32(),
        "score": pl.Float64(),
        "status": pl.String(),
        "evidence": pl.String(),
    }
)
"""``score`` is the probability in percent that both rows are the same, 0 to 100; ``evidence`` says how many bits each
piece of evidence is worth, without a word of what stands in the rows."""

_PARTS = ("name", "address", "mail", "phone", "country")


def find(
    source: pl.DataFrame,
    destination: pl.DataFrame,
    evidence: Evidence,
    *,
    population: pl.DataFrame | None = None,
    barred: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Propose which rows of two lists are the same.

    Args:
        source: Rows that only one side has, with the columns of the evidence.
        destination: Those that only the other side has, with the same columns.
        evidence: What the task declares.
        population: All rows of both sides, with those columns, to know what is rare; by default the two lists.
        barred: Pairs that a person has turned down: ``left`` and ``right`` (UInt32), row numbers of the lists.

    Returns:
        Columns of `PAIRS`, no row twice, by source row. ``status`` is ``proposed`` where the pair is certain and no
        other is nearly as good, else ``ambiguous``: for a person to decide, never to be taken as it is.
    """
    pairs = weighed(source, destination, evidence, population=population)
    if barred is not None:
        pairs = pairs.join(barred, on=["left", "right"], how="anti", maintain_order="left")
    chosen = choose(pairs)
    told = pl.concat_str(
        [pl.when(pl.col(part) != 0).then(pl.format("{} {}", pl.lit(part), pl.col(part).round(1))) for part in _PARTS],
        separator=", ",
        ignore_nulls=True,
    )
    return chosen.select(
        source_row="left",
        destination_row="right",
        score=(100 / (1 + pl.lit(2.0).pow(-pl.col("bits").clip(-50, 50)))).round(2),
        status="status",
        evidence=told,
    ).cast(PAIRS)


def weighed(
    source: pl.DataFrame, destination: pl.DataFrame, evidence: Evidence, *, population: pl.DataFrame | None = None
) -> pl.DataFrame:
    """All candidate pairs with their evidence: ``left``, ``right``, the bits of each part, ``place``, ``bits``,
    ``is_doubtful``; arguments as in `find`."""
    left, right = records(source, evidence), records(destination, evidence)
    everyone = pl.concat([left, right]) if population is None else records(population, evidence)
    pairs = candidate_pairs(left, right)
    weights = evidence_of(pairs, left, right, rarities(everyone))
    prior = -pl.lit(2.0 * max(left.height, right.height, 1)).log(2)
    # A company at another address has moved or is a branch; who shares its mailbox and switchboard cannot tell which.
    # A person who has moved takes mailbox and telephone along. Who shares everything but the given name is family.
    moved = pl.col("place") == "other"
    doubtful = pl.col("is_other_given") | (moved & pl.lit(not evidence.given))
    return pairs.hstack(weights).with_columns(bits=pl.col("sum") + prior, is_doubtful=doubtful)
