"""How much each piece of evidence says for or against two records being the same: bits, after Fellegi and Sunter.

A piece of evidence that is found m times among pairs that are the same and u times among pairs that are not is worth
``log2(m / u)`` bits. What is the same on both sides is worth more the rarer it is: u is how often that very name,
mailbox or telephone number stands in all rows of both sides, those that are matched included. So a name that forty
branches share is worth little, and one that nobody else has, much. How often the two hands of one record differ (m)
was set once, on lists made for it (``bench/proposals.py``, seeds that no figure is reported on), and is not learned
from a site: rows that the integrator copied differ less than rows that two people typed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

__all__ = ["PRIOR_ROWS", "evidence_of", "rarities"]

PRIOR_ROWS = 5_000
"""Rows that every list is taken to have in addition: a name is not common because a list is short."""

_MOST = 16.0  # bits that one piece can say: two records that share all of one mailbox may still be two
_NAME = ((100, 1.0), (92, 0.85), (85, 0.65), (76, 0.35), (62, 0.0))  # similarity from: share of the rarity's bits
_OTHER_NAME = -12.0
_OTHER_GIVEN = -14.0
_NEAR_GIVEN = -3.0
_GIVEN, _GIVEN_SURE = 60, 80  # similarity: below the first it is another name
_INITIAL = -1.0
_PHONE_NEAR, _PHONE_OTHER = 6.0, -2.0
_MAIL_NEAR, _MAIL_OTHER, _HOST_SHARE = 8.0, -2.0, 0.6
_COUNTRY_OTHER = -3.0
_ADDRESS = {"house": 13.0, "nearly": 9.0, "street": 4.5, "postcode": 3.0, "city": 1.0, "other": -5.0, "none": 0.0}


def rarities(population: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Say how rare each name, mailbox, host and telephone number is.

    Args:
        population: Records of all rows of both sides, one below the other.

    Returns:
        By part: the value and ``bits`` (Float64), ``log2(1 / share of the rows)``.
    """
    rows = population.height + PRIOR_ROWS
    found = {}
    for part in ("name", "family", "mail", "host", "phone"):
        counted = population.select(part).filter(pl.col(part) != "").group_by(part).len("n")
        found[part] = counted.select(part, bits=(rows / pl.col("n")).log(2).clip(0, _MOST))
    return found


def evidence_of(
    pairs: pl.DataFrame, left: pl.DataFrame, right: pl.DataFrame, rare: dict[str, pl.DataFrame]
) -> pl.DataFrame:
    """Weigh every piece of evidence of pairs of records.

    Args:
        pairs: ``left`` and ``right``, row numbers.
        left: Records of one side.
        right: Of the other.
        rare: As `rarities` gives them.

    Returns:
        As many rows: ``name``, ``address``, ``mail``, ``phone``, ``country`` (bits, Float64; 0 where a side says
        nothing) and ``sum``; ``place``: how far the addresses agree (house, nearly, street, postcode, city, other,
        none where a side says nothing); ``is_other_given``: the given names are two names, not one in two spellings.
    """
    ours, theirs = left[pairs["left"]], right[pairs["right"]]
    both = pl.concat([ours.rename(lambda c: f"{c}_l"), theirs.rename(lambda c: f"{c}_r")], how="horizontal")
    both = both.with_columns(_rarity(both, part, rare[part]).alias(f"{part}_bits") for part in rare)
    both = _with_similarities(both)
    other = (_said("given") & (pl.col("given_s") < _GIVEN)) & ~_initial() & ~_swapped()
    bits = both.select(
        name=_name(), mail=_mail(), phone=_phone(), country=_country(), place=_place(), is_other_given=other
    )
    # who lives elsewhere may well live in another country: that is said once
    bits = bits.with_columns(country=pl.when(pl.col("place") != "other").then("country").otherwise(0.0))
    bits = bits.with_columns(address=pl.col("place").replace_strict(_ADDRESS, return_dtype=pl.Float64))
    parts = ("name", "address", "mail", "phone", "country")
    return bits.select(*parts, "place", "is_other_given", sum=pl.sum_horizontal(parts))


def _rarity(both: pl.DataFrame, part: str, bits: pl.DataFrame) -> pl.Series:
    """Bits of the commoner of both values: a slip makes a common name look rare."""
    sides = [both.select(pl.col(f"{part}_{side}").alias(part)) for side in "lr"]
    known = [side.join(bits, on=part, how="left", maintain_order="left")["bits"] for side in sides]
    said = both.select((pl.col(f"{part}_l") != "") & (pl.col(f"{part}_r") != "")).to_series()
    return pl.select(pl.when(said).then(pl.min_horizontal(known).fill_null(_MOST)).otherwise(0.0)).to_series()


def _similar(both: pl.DataFrame, part: str, other: str = "", scorer: Callable[..., Any] = fuzz.ratio) -> pl.Series:
    """0 to 100 for each pair, Float32; worked out once for each two different texts."""
    pair = both.select(a=f"{part}_l", b=f"{other or part}_r")
    distinct = pair.unique(maintain_order=True)
    found = process.cpdist(distinct["a"].to_list(), distinct["b"].to_list(), scorer=scorer, dtype=np.float32, workers=2)
    return pair.join(distinct.with_columns(s=pl.Series(found)), on=["a", "b"], how="left", maintain_order="left")["s"]


def _with_similarities(both: pl.DataFrame) -> pl.DataFrame:
    def near(part: str, other: str = "") -> pl.Series:
        # two letters that changed places are one slip, not two
        return _similar(both, part, other, OSA.normalized_similarity) * 100

    return both.with_columns(
        name_s=pl.Series(np.maximum(near("name"), near("written"))),
        given_s=near("given"),
        family_s=near("family"),
        street_s=pl.Series(np.maximum(near("street"), near("road"))),
        number_s=near("number"),
        postcode_s=near("postcode"),
        city_s=near("city"),
        mail_s=near("mail"),
        mailbox_s=near("mailbox"),
        host_s=near("host"),
        phone_s=near("phone"),
    )


def _said(part: str) -> pl.Expr:
    return (pl.col(f"{part}_l") != "") & (pl.col(f"{part}_r") != "")


def _same(part: str) -> pl.Expr:
    return _said(part) & (pl.col(f"{part}_l") == pl.col(f"{part}_r"))


def _share(similarity: str, bits: str) -> pl.Expr:
    """Bits of a name by how alike it is, and how rare."""
    share: pl.Expr = pl.lit(None, pl.Float64)
    for least, part in reversed(_NAME):
        share = pl.when(pl.col(similarity) >= least).then(pl.lit(part)).otherwise(share)
    return pl.when(share.is_null()).then(pl.lit(_OTHER_NAME)).otherwise(share * pl.col(bits))


def _initial() -> pl.Expr:
    """One side has the first letter of the given name alone."""
    letters = [pl.col(f"given_{side}").str.slice(0, 1) for side in "lr"]
    short = pl.min_horizontal(pl.col("given_l").str.len_chars(), pl.col("given_r").str.len_chars()) == 1
    return short & (letters[0] == letters[1])


def _swapped() -> pl.Expr:
    """Given and family name stand in each other's place: all words are there, in another order."""
    return (pl.col("name_s") >= _NAME[2][0]) & (pl.col("given_s") < _GIVEN) & (pl.col("family_s") < _GIVEN)


def _name() -> pl.Expr:
    whole = _share("name_s", "name_bits")
    return (
        pl.when(~_said("given"))
        .then(whole)
        .when(_initial())
        .then(_share("family_s", "family_bits") + _INITIAL)
        .when((pl.col("given_s") >= _GIVEN_SURE) | _swapped())
        .then(whole)
        .when(pl.col("given_s") >= _GIVEN)
        .then(whole + _NEAR_GIVEN)
        .otherwise(whole + _OTHER_GIVEN)
    )


def _mail() -> pl.Expr:
    host = pl.col("host_bits") * _HOST_SHARE
    return (
        pl.when(~_said("mail"))
        .then(0.0)
        .when(_same("mail"))
        .then(pl.col("mail_bits"))
        .when((pl.col("mail_s") >= 90) & (pl.col("mailbox_s") >= 80))
        .then(pl.lit(_MAIL_NEAR))
        .when(_same("host"))
        .then(host + _MAIL_OTHER)
        .when(pl.col("host_s") >= 90)
        .then(host * 0.5)
        .otherwise(_MAIL_OTHER)
    )


def _phone() -> pl.Expr:
    return (
        pl.when(~_said("phone"))
        .then(0.0)
        .when(_same("phone"))
        .then(pl.col("phone_bits"))
        .when(pl.col("phone_s") >= 86)
        .then(pl.lit(_PHONE_NEAR))
        .otherwise(_PHONE_OTHER)
    )


def _country() -> pl.Expr:
    return pl.when(_said("country") & ~_same("country")).then(_COUNTRY_OTHER).otherwise(0.0)


def _place() -> pl.Expr:
    """How far two addresses agree. A postal code or a city that one side leaves out does not contradict."""
    town_said = _said("postcode") | _said("city")
    postcode = _said("postcode") & (pl.col("postcode_s") >= 75)
    city = _said("city") & (pl.col("city_s") >= 75)
    town = postcode | city
    street = _said("street") & (pl.col("street_s") >= 75)
    number = pl.col("number_l") == pl.col("number_r")
    return (
        pl.when(street & number & (town | ~town_said))
        .then(pl.lit("house"))
        .when(street & town & ((pl.col("number_s") >= 50) | ~_said("number")))
        .then(pl.lit("nearly"))
        .when(~_said("street") & _said("postcode") & (pl.col("postcode_s") < 60))
        .then(pl.lit("other"))
        .when(~_said("street") & _same("postcode"))
        .then(pl.lit("postcode"))
        .when(~_said("street") & city)
        .then(pl.lit("city"))
        .when(~_said("street") & ~town_said)
        .then(pl.lit("none"))
        .when(street & town)
        .then(pl.lit("street"))
        .otherwise(pl.lit("other"))
    )
