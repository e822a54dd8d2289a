"""What quotes, orders and invoices are made of: who buys, what is bought, and what it comes to.

Amounts are whole cents and quantities whole hundred-thousandths (Int64) until a frame of a system is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from p2c_lib.sandbox import people
from p2c_lib.sandbox.draw import MONEY, Draw, money
from p2c_lib.sandbox.fno_amounts import TAX_RATES
from p2c_lib.sandbox.reference import UNITS, guid

__all__ = [
    "CENTS",
    "PRICE_LISTS",
    "Masters",
    "in_money",
    "line_facts",
    "masters",
    "noon",
    "pieces",
    "references",
    "region_iso",
    "tax_of",
    "tax_rate",
    "totals",
]

USED = 0.4  # of accounts, active contacts: those that buy; the others stay free to be changed
USED_GOODS = 0.45
DEAREST = 100_000_000  # cents; no line comes near the end of Int64
ISO = {"USA": "US", "DEU": "DE", "FRA": "FR", "GBR": "GB", "JPN": "JP", "IND": "IN", "AUS": "AU", "CAN": "CA"}
PRICE_LISTS = {"USD": "CRM Service USA (sample)", "EUR": "Europe Retail", "GBP": "UK Retail"}
EXCHANGE = {"USD": 100, "EUR": 92, "GBP": 79}
CENTS = ("price", "base", "discount", "net", "tax", "per_unit")
LINE_COUNTS, LINE_SHARES = (1, 2, 3, 4, 5, 6, 7, 9), (0.08, 0.14, 0.2, 0.22, 0.16, 0.1, 0.06, 0.04)
WHOLE = 100_000  # hundred-thousandths of one


@dataclass(frozen=True)
class Masters:
    """Who and what documents refer to.

    Attributes:
        parties: Customers that both systems know: ``id``, ``kind``, ``number``, ``party``, ``currency``, ``owner``,
            ship and bill addresses (``ship_line1``, ..., ``ship_country`` as Sales has it, ``ship_iso`` as F&O has it),
            ``exempt`` (from tax).
        foreign: Customers born in F&O, of ``company`` usmf and demf; same columns, no ``id``.
        goods: Products that both systems know: ``product``, ``item``, ``title``, ``uom``, ``symbol``, ``cents``,
            ``places``.
        own: Products of Sales alone; same columns.
    """

    parties: pl.DataFrame
    foreign: pl.DataFrame
    goods: pl.DataFrame
    own: pl.DataFrame


def masters(sales: dict[str, pl.DataFrame], fno: dict[str, pl.DataFrame], persons: int) -> Masters:
    """Choose who buys and what is sold.

    Args:
        sales: Frames of Sales; products of F&O come before those of Sales alone.
        fno: Frames of F&O; ``CustomersV2`` has a row for each account, then for each active contact, in their order.
        persons: Active contacts.

    Returns:
        Masters, the first part of each.
    """
    accounts, customers = sales["accounts"], fno["CustomersV2"]
    active = sales["contacts"].filter("msdynce_isactivecustomer")
    few, some = round(accounts.height * USED), round(persons * USED)
    has_second = pl.col("address2_line1").is_not_null()
    organisations = accounts.head(few).hstack(_places(customers.head(few)))
    shipped = {name: pl.when(has_second).then(f"address2_{name}").otherwise(f"address1_{name}") for name in PARTS}
    parts = [
        organisations.select(
            id="accountid",
            kind=pl.lit("account"),
            number="accountnumber",
            party="name",
            **_addresses(shipped),
            ship_iso=_iso(pl.when(has_second).then("second_iso").otherwise("first_iso")),
            bill_region="region",
            currency="currency",
            owner="_ownerid_value",
        ),
        active.head(some)
        .hstack(_places(customers.slice(accounts.height, some)))
        .select(
            id="contactid",
            kind=pl.lit("contact"),
            number="msdynce_contactnumber",
            party="fullname",
            **_addresses({name: pl.col(f"address1_{name}") for name in PARTS}),
            ship_iso=_iso(pl.col("first_iso")),
            bill_region="region",
            currency="currency",
            owner="_ownerid_value",
        ),
    ]
    strangers = customers.slice(accounts.height + persons)
    foreign = strangers.select(
        company="dataAreaId",
        number="CustomerAccount",
        party="OrganizationName",
        **{f"{end}_{name}": pl.col(f"Address{to}") for end in ("ship", "bill") for name, to in FNO_PARTS.items()},
        ship_iso=_iso(pl.col("AddressCountryRegionISOCode")),
        bill_region="AddressCountryRegionId",
        currency="SalesCurrencyCode",
    )
    known = sales["products"].filter("msdynce_ismaintainedexternally")
    own = sales["products"].filter(~pl.col("msdynce_ismaintainedexternally").fill_null(False))
    sellable = (pl.col("cents") > 0) & (pl.col("cents") < DEAREST) & (pl.col("statecode") == 0)
    parties = pl.concat(parts).with_columns(exempt=pl.int_range(pl.len()) % 2 == 0)
    return Masters(
        parties,
        foreign,
        _goods(known.head(round(known.height * USED_GOODS))).filter(sellable),
        _goods(own).filter(sellable),
    )


PARTS = ("line1", "city", "stateorprovince", "postalcode", "country")
FNO_PARTS = {"line1": "Street", "city": "City", "stateorprovince": "State", "postalcode": "ZipCode"}


def _addresses(ship: dict[str, pl.Expr]) -> dict[str, pl.Expr]:
    bill = {f"bill_{name}": pl.col(f"address1_{name}") for name in PARTS}
    return {f"ship_{name}": expr for name, expr in ship.items()} | bill


def _places(customers: pl.DataFrame) -> pl.DataFrame:
    second = "DeliveryAddressCountryRegionISOCode"
    return customers.select(
        first_iso="AddressCountryRegionISOCode",
        second_iso=second if second in customers.columns else pl.lit("US"),
        region="AddressCountryRegionId",
        currency="SalesCurrencyCode",
    )


def _iso(code: pl.Expr) -> pl.Expr:
    """What the documents' country map gives: two letters also for a blank country."""
    return pl.when(code == "USA").then(pl.lit("US")).otherwise(code)


def _goods(products: pl.DataFrame) -> pl.DataFrame:
    symbols = {guid("uom", name): symbol for symbol, name in UNITS.items()}
    return products.select(
        product="productid",
        item="productnumber",
        title="name",
        uom="_defaultuomid_value",
        symbol=pl.col("_defaultuomid_value").replace_strict(symbols, return_dtype=pl.String),
        cents=(pl.col("price") * 100).cast(pl.Int64),
        places="quantitydecimal",
        statecode="statecode",
    )


def references(draw: Draw, n: int) -> pl.Series:
    """What people call a quote or an order, up to 60 characters."""
    noun, brand = draw.pick(people.PRODUCT_NOUNS, n), draw.pick(people.BRANDS, n)
    call = pl.Series(draw.integers(n, 1, 60)).cast(pl.String)
    long = pl.format("Framework agreement 2025, call-off {}: {}", call, noun)
    short = pl.format("{} for {}", noun, brand)
    text = pl.when(draw.chance(n, 0.4)).then(long).otherwise(short)
    return pl.select(text.str.slice(0, 60).str.strip_chars()).to_series()


def line_facts(draw: Draw, heads: pl.DataFrame, goods: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """The lines of documents.

    Args:
        draw: Stream to draw from.
        heads: ``doc`` (0, 1, ...), ``currency``, ``tax_rate``, ``least`` (lines at least), ``mixed`` (whether the
            last line is no product of F&O).
        goods: Products to sell.
        own: Products of Sales alone.

    Returns:
        In the order of the documents: ``doc``, ``seq`` (1, 2, ...), ``lines`` (of the document), the product's columns
        (null for a write-in), ``written`` (text of a write-in), ``quantity``, the amounts `CENTS`, ``overridden``.
    """
    n = heads.height
    counts = np.maximum(draw.rng.choice(LINE_COUNTS, n, p=LINE_SHARES), heads["least"].to_numpy())
    doc = np.repeat(np.arange(n), counts)
    m = len(doc)
    frame = goods[draw.integers(m, 0, goods.height)].hstack(
        pl.DataFrame(
            {
                "doc": pl.Series(doc, dtype=pl.UInt32),
                "seq": pl.Series(np.arange(m) - np.repeat(np.cumsum(counts) - counts, counts) + 1, dtype=pl.Int32),
                "lines": pl.Series(np.repeat(counts, counts), dtype=pl.Int32),
            }
        )
    )
    frame = frame.hstack(heads[doc].select("currency", "tax_rate", "mixed"))
    last = pl.col("mixed") & (pl.col("seq") == pl.col("lines"))
    written = last & (draw.chance(m, 0.5) if own.height else pl.lit(True))
    swap = own[draw.integers(m, 0, own.height)] if own.height else frame.select(goods.columns)
    for name in goods.columns:
        kept = pl.when(last).then(swap[name]).otherwise(pl.col(name))
        keep = name in ("cents", "places", "statecode")
        frame = frame.with_columns((kept if keep else pl.when(~written).then(kept)).alias(f"new_{name}"))
    frame = frame.with_columns(
        foreign=last,
        written=pl.when(written).then(draw.pick(["Installation on site", "Disposal of old goods", "Training"], m)),
        **{name: pl.col(f"new_{name}") for name in goods.columns},
    ).drop([f"new_{name}" for name in goods.columns])
    step = np.power(10, frame["places"].to_numpy())
    quantity = draw.integers(m, 1, 41) * WHOLE
    finer = np.maximum(1, np.floor(draw.rng.random(m) * 40 * step)).astype(np.int64) * (WHOLE // step)
    quantity = np.where((step > 1) & (draw.rng.random(m) < 0.7), finer, quantity)
    rate = frame["currency"].replace_strict(EXCHANGE, return_dtype=pl.Int64).to_numpy()
    haggled = draw.rng.random(m) < 0.2
    price = _rounded(frame["cents"].to_numpy() * rate, 100)
    price = np.where(haggled, np.maximum(1, price - price * draw.integers(m, 1, 12) // 100), np.maximum(1, price))
    base = _rounded(price * quantity, WHOLE)
    share = draw.integers(m, 1, 1500) * (draw.rng.random(m) < 0.35)
    discount = base * share // 10_000
    net = base - discount
    tax_rate = frame["tax_rate"].to_numpy()
    return frame.drop("currency", "tax_rate", "mixed", "cents", "statecode", "places").with_columns(
        quantity=pl.Series(quantity),
        price=pl.Series(price),
        base=pl.Series(base),
        discount=pl.Series(discount),
        net=pl.Series(net),
        tax=pl.Series(_rounded(net * tax_rate, 100)),
        per_unit=pl.Series((2 * discount * WHOLE + quantity) // (2 * quantity)),
        overridden=pl.Series(haggled | (rate != 100)) | pl.Series(frame["written"].is_not_null()),
    )


def _rounded(value: npt.NDArray[np.int64], by: int) -> npt.NDArray[np.int64]:
    """Whole numbers divided, half up; nothing here is below zero."""
    return (2 * value + by) // (2 * by)


def totals(lines: pl.DataFrame, by: str = "doc") -> pl.DataFrame:
    """What the lines of each document come to: ``net_total`` and ``tax_total``, in cents, and their ``count``."""
    sums = (pl.col(name).sum().alias(f"{name}_total") for name in ("net", "tax"))
    return lines.group_by(by, maintain_order=True).agg(*sums, count=pl.len())


def in_money(frame: pl.DataFrame, *names: str) -> pl.DataFrame:
    """The columns as amounts instead of cents."""
    return frame.with_columns([money(frame[name]).alias(name) for name in names])


def pieces(frame: pl.DataFrame) -> pl.DataFrame:
    """Lines as the systems hold them: amounts, quantities, and F&O's ``charge``, the rest of a discount per unit."""
    hundredths = pl.Series([100], dtype=MONEY)
    amount = frame["quantity"].cast(MONEY) / pl.Series([WHOLE], dtype=MONEY)
    charge = frame["per_unit"].cast(MONEY) * amount - frame["discount"].cast(MONEY)
    return in_money(frame, *CENTS).with_columns(quantity=amount, charge=charge.cast(MONEY) / hundredths)


def noon(moment: str, days: int = 0) -> pl.Expr:
    """A date some days after a moment, the way F&O writes dates: at noon."""
    return (pl.col(moment).dt.truncate("1d") + pl.duration(days=days, hours=12)).dt.cast_time_unit("us")


def region_iso(region: str) -> pl.Expr:
    """ISO code of an F&O country/region."""
    return pl.col(region).replace_strict(ISO, return_dtype=pl.String)


def tax_rate() -> pl.Expr:
    """Percent of tax on a document, by the country/region of who pays; some customers pay none."""
    rates = {region: TAX_RATES.get(iso, 0) for region, iso in ISO.items()}
    by_region = pl.col("bill_region").replace_strict(rates, default=0, return_dtype=pl.Int64)
    return pl.when(pl.col("exempt").fill_null(False)).then(0).otherwise(by_region)


def tax_of(cents: pl.Expr) -> pl.Expr:
    """Tax on an amount by ``tax_rate``, in cents."""
    return (2 * cents * pl.col("tax_rate") + 100) // 200
