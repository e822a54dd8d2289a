"""What accounts, contacts and products are made of: addresses, notes, phones, amounts, names, dates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from p2c_lib.sandbox import people
from p2c_lib.sandbox.draw import MONEY, Draw, money
from p2c_lib.sandbox.reference import FIRST_NUMBER, USERS, guid

__all__ = [
    "HUGE",
    "REGION_COLUMNS",
    "address",
    "as_fno",
    "company_names",
    "credit_limits",
    "currencies",
    "currency_ids",
    "life",
    "numbers",
    "phones",
    "remarks",
    "with_blanks",
]

REGION_COLUMNS = ("iso", "region_id", "region")  # of `address`: facts that are no column of Sales
FIRST_DAY, LAST_DAY = 1_704_153_600, 1_767_139_200  # 2024-01-02 and 2025-12-31, midnight UTC
NOTES = 5_000
NAME_LENGTH, MEMO_LENGTH, STREET_LENGTH = 100, 2000, 250
HUGE = 9_007_199_254_740_993  # hundredths; a 64-bit float cannot hold it
CURRENCY_MIX = {"USD": 0.6, "EUR": 0.28, "GBP": 0.12}
REGION_MIX = (0.42, 0.2, 0.1, 0.1, 0.04, 0.05, 0.04, 0.05)
BLANK_COUNTRY = "USA"  # what the integrator puts for a blank country, although the column is an ISO code


def numbers(prefix: str, draw: Draw, n: int) -> pl.Series:
    """Account or contact numbers in a row: ``ACC-01000-BVRCPS``."""
    running = pl.Series(np.arange(FIRST_NUMBER, FIRST_NUMBER + n)).cast(pl.String).str.zfill(5)
    return pl.select(pl.format(f"{prefix}-{{}}-{{}}", running, draw.suffixes(n))).to_series()


def with_blanks(values: pl.Series, draw: Draw, share: float) -> pl.Series:
    """The values, about `share` of them taken away."""
    return pl.select(pl.when(~draw.chance(values.len(), share)).then(values)).to_series()


def by_region(draw: Draw, regions: npt.NDArray[np.int64], lists: list[tuple[str, ...]]) -> pl.Series:
    """For each row one text out of the list of its region."""
    counts = np.array([len(part) for part in lists])
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    flat = pl.Series([text for part in lists for text in part], dtype=pl.String)
    return flat.gather(starts[regions] + draw.within(counts[regions]))


def address(draw: Draw, n: int, prefix: str, blank: float) -> pl.DataFrame:
    """Addresses: the columns of Sales, and what F&O holds for the country (``iso``, ``region_id``).

    `blank` is the share of rows that have no address at all; ``region`` is the row's place in `people.REGIONS`.
    """
    regions = draw.rng.choice(len(people.REGIONS), n, p=REGION_MIX)
    flat = [(region, place) for region in people.REGIONS for place in region.places]
    counts = np.array([len(region.places) for region in people.REGIONS])
    place = np.concatenate(([0], np.cumsum(counts)[:-1]))[regions] + draw.within(counts[regions])
    pattern = by_region(draw, regions, [region.streets for region in people.REGIONS])
    house = pl.Series(draw.integers(n, 1, 1900)).cast(pl.String)
    written = by_region(draw, regions, [region.written for region in people.REGIONS])
    annex = ", Building 4, rear entrance via the car park of the former freight yard" * 2
    annexes = draw.pick([annex, ""], n, (0.04, 0.96))
    ends = pattern.str.split_exact("{}", 1).struct.unnest()
    street = pl.select(pl.concat_str(ends["field_0"], house, ends["field_1"], annexes)).to_series()
    has = ~draw.chance(n, blank)
    has_country = has & ~draw.chance(n, 0.1)
    iso = pl.Series([region.iso for region in people.REGIONS]).gather(regions)
    region_id = pl.Series([region.region_id for region in people.REGIONS]).gather(regions)
    columns: dict[str, pl.Expr] = {
        f"{prefix}_line1": pl.when(has).then(street.str.slice(0, STREET_LENGTH)),
        f"{prefix}_city": pl.when(has).then(pl.Series([p[0] for _, p in flat]).gather(place)),
        f"{prefix}_stateorprovince": pl.when(has).then(pl.Series([p[1] for _, p in flat]).gather(place)),
        f"{prefix}_postalcode": pl.when(has).then(pl.Series([p[2] for _, p in flat]).gather(place)),
        f"{prefix}_country": pl.when(has_country).then(written),
        "iso": pl.when(has_country).then(iso).otherwise(pl.lit(BLANK_COUNTRY)),
        "region_id": pl.when(has_country).then(region_id).otherwise(pl.lit("USA")),
        "region": pl.lit(pl.Series(regions)),
    }
    return pl.select([expr.alias(name) for name, expr in columns.items()])


def remarks(draw: Draw, n: int, blank: float = 0.4, words: tuple[str, ...] = people.REMARKS) -> pl.Series:
    """Notes of one to three sentences, some with line breaks, one in a hundred as long as the column."""
    texts = min(n, NOTES)  # drawn from, so that the long ones are held once
    one, two, three = (draw.pick(words, texts) for _ in range(3))
    kind = pl.Series(draw.rng.permutation(texts) / max(texts, 1))
    space, mass = pl.lit(" "), pl.lit(" ".join(words) * 8)
    text = (
        pl.when(kind < 0.01)
        .then(pl.concat_str(one, space, mass).str.slice(0, MEMO_LENGTH).str.strip_chars())
        .when(kind < 0.3)
        .then(pl.concat_str(one, pl.lit("\n"), two))
        .when(kind < 0.45)
        .then(pl.concat_str(one, space, two, space, three))
        .otherwise(one)
    )
    notes = pl.select(text).to_series()
    return with_blanks(notes.gather(draw.integers(n, 0, texts)) if n else notes, draw, blank)


def phones(draw: Draw, regions: pl.Series) -> pl.Series:
    """Phone numbers with the calling code of their region."""
    code = pl.Series([region.phone for region in people.REGIONS]).gather(regions)
    n = regions.len()
    return pl.select(pl.format("{} {} {}", code, draw.digits(n, 3), draw.digits(n, 6))).to_series()


def life(draw: Draw, n: int) -> pl.DataFrame:
    """Who owns a row and when it was made and last changed."""
    created = draw.moments(n, FIRST_DAY, LAST_DAY)
    left = (LAST_DAY * 1_000_000 - created.cast(pl.Int64)).to_numpy()
    later = np.floor(left * draw.rng.random(n) ** 3 / 1_000_000).astype(np.int64) * 1_000_000
    return pl.select(
        createdon=created,
        modifiedon=(created.cast(pl.Int64) + pl.Series(later)).cast(pl.Datetime("us", "UTC")),
        _ownerid_value=draw.pick([guid("user", name) for name in USERS], n),
        _owningbusinessunit_value=pl.lit(guid("businessunit", "Contoso")),
    )


def currencies(draw: Draw, n: int) -> pl.Series:
    """Currency codes, mostly dollars."""
    return draw.pick(list(CURRENCY_MIX), n, list(CURRENCY_MIX.values()))


def currency_ids(codes: pl.Series) -> pl.Series:
    """Guids of the currencies in Sales."""
    return codes.replace_strict({iso: guid("currency", iso) for iso in CURRENCY_MIX}, return_dtype=pl.String)


def credit_limits(draw: Draw, n: int) -> pl.Series:
    """Credit limits: a fourth of them not set, some zero, one that no float can hold."""
    limit = with_blanks(draw.amounts(n, 500, 2_000_000), draw, 0.25)
    zero = draw.chance(n, 0.03)
    row = pl.int_range(n, eager=True)
    huge = money(pl.Series([HUGE]))[0]
    return pl.select(
        pl.when(row == 7).then(pl.lit(huge, MONEY)).when(zero).then(pl.lit(0, MONEY)).otherwise(limit)
    ).to_series()


def company_names(draw: Draw, regions: pl.Series) -> pl.Series:
    """Names of companies of their region, some as long as F&O allows."""
    n = regions.len()
    stem = pl.when(draw.chance(n, 0.5)).then(draw.pick(people.BRANDS, n)).otherwise(draw.pick(people.LAST_NAMES, n))
    second = (
        pl.when(draw.chance(n, 0.2)).then(pl.format(" & {}", draw.pick(people.LAST_NAMES, n))).otherwise(pl.lit(""))
    )
    form = by_region(draw, regions.to_numpy(), [region.legal_forms for region in people.REGIONS])
    trades = draw.pick(people.TRADES, n)
    tails = [" – ".join(("", *people.TRADES[i:], *people.TRADES[:i])) for i in range(len(people.TRADES))]
    tail = pl.when(draw.chance(n, 0.03)).then(draw.pick(tails, n)).otherwise(pl.lit(""))
    name = pl.concat_str(stem, second, pl.lit(" "), trades, pl.lit(" "), form, tail)
    return pl.select(name.str.slice(0, NAME_LENGTH).str.strip_chars()).to_series()


def as_fno(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows in F&O's form of what is absent: "" for texts, 0 for numbers."""
    numeric = [name for name, dtype in frame.schema.items() if dtype.is_numeric()]
    return frame.with_columns(pl.col(pl.String).fill_null(""), *[pl.col(name).fill_null(0) for name in numeric])
