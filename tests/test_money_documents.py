"""10,000 random documents through the real templates and both systems' arithmetic, in currencies of 0, 2 and 3 places.

Each document is priced in Sales, sent by the templates, worked out by F&O, given charges, a header discount and tax
there, and brought back as an order and as an invoice; on each leg both sides must agree to the last digit.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from p2c_lib.connect.metadata import Metadata, parse_csdl
from p2c_lib.diff import compare
from p2c_lib.mapping import expected, source_columns
from p2c_lib.model import Task, load_templates
from p2c_lib.money import document_total, freight_tax, join_discount, smallest_unit, split_discount
from p2c_lib.pull import MONEY
from p2c_lib.sandbox import fno_amounts
from p2c_lib.sandbox.dataverse_csdl import csdl
from p2c_lib.sandbox.fno_metadata import edmx
from p2c_lib.sandbox.sales_pricing import document_totals, line_amounts
from p2c_lib.sandbox.schema import load_schema
from p2c_lib.tieout import across, tie_out

COUNT = 10_000
PLACES = {"JPY": 0, "EUR": 2, "USD": 2, "KWD": 3}
TAX = ("0", "0.05", "0.08", "0.1", "0.19", "0.175")
PRICE_LISTS = """
overlay: yen and dinar
value_maps:
  currency_to_price_list: {entries: {jpy: Japan, kwd: Kuwait}}
"""
ISO = "transactioncurrencyid.isocurrencycode"


def amount_series(values: list[Decimal]) -> pl.Series:
    return pl.Series(values, dtype=MONEY)


PUBLISHED = pl.DataFrame(
    {
        "number": pl.Series([1, 2], dtype=pl.Int32),
        "price": amount_series([Decimal(10), Decimal(10)]),
        "quantity": amount_series([Decimal(3), Decimal(3)]),
        "discount": amount_series([Decimal(10), Decimal(20)]),
    }
)
"""The example of the pages, 10.00 over 3, and its counterpart that is rounded up."""


class Documents(NamedTuple):
    """Headers: ``document``, ``currency``, ``freight``, ``rebate``, ``rate``; lines: what somebody typed in."""

    headers: pl.DataFrame
    lines: pl.DataFrame


def amounts(whole: np.ndarray, places: np.ndarray) -> pl.Series:
    """Whole units as exact amounts, each with its own number of decimal places."""
    scale = pl.Series(10**places).cast(MONEY)
    return pl.Series(whole).cast(MONEY) / scale


def make(seed: int = 7) -> Documents:
    rng = np.random.default_rng(seed)
    codes = np.array(list(PLACES))[rng.integers(0, len(PLACES), COUNT)]
    places = np.array([PLACES[code] for code in codes])
    counts = rng.integers(1, 13, COUNT)
    of = np.repeat(np.arange(COUNT), counts)
    n = len(of)
    finer = rng.integers(0, 6, n)  # decimals of a quantity
    quantity = rng.integers(-2_000, 20_000, n) * np.where(rng.random(n) < 0.01, 0, 1)
    discount = np.where(rng.random(n) < 0.6, rng.integers(-50_000, 500_000, n), 0)
    headers = pl.DataFrame(
        {
            "document": [f"DOC-{number:05d}" for number in range(COUNT)],
            "currency": codes,
            "freight": amounts(rng.integers(-5_000, 50_000, COUNT) * (rng.random(COUNT) < 0.5), places),
            "rebate": amounts(rng.integers(-5_000, 50_000, COUNT) * (rng.random(COUNT) < 0.3), places),
            "rate": pl.Series(np.array(TAX)[rng.integers(0, len(TAX), COUNT)]).cast(MONEY),
        }
    )
    lines = pl.DataFrame(
        {
            "document": headers["document"].gather(of),
            "number": pl.Series(np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts) + 1, dtype=pl.Int32),
            "currency": headers["currency"].gather(of),
            "rate": headers["rate"].gather(of),
            "price": amounts(rng.integers(0, 2_000_000, n), places[of]),
            "quantity": amounts(quantity, finer),
            "discount": amounts(discount, places[of]),
        }
    )
    example = PUBLISHED.join(headers.select("currency").unique(maintain_order=True), how="cross").select(
        pl.format("EXAMPLE-{}", "currency").alias("document"), pl.all()
    )
    nothing = [pl.lit(0, MONEY).alias(name) for name in ("freight", "rebate", "rate")]
    parties = example.select("document", "currency").unique(maintain_order=True).with_columns(nothing)
    return Documents(
        pl.concat([headers, parties]),
        pl.concat([lines, example.with_columns(rate=pl.lit(0, MONEY)).select(lines.columns)]),
    )


@pytest.fixture(scope="module")
def documents() -> Documents:
    return make()


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> dict[str, Task]:
    overlay = tmp_path_factory.mktemp("site") / "site.yaml"
    overlay.write_text(PRICE_LISTS)
    return {task.name: task for template in load_templates([overlay]).values() for task in template.tasks}


@pytest.fixture(scope="module")
def metadata() -> dict[str, Metadata]:
    bodies = {"sales": csdl(load_schema("sales")), "fno": edmx(load_schema("fno"))}
    return {system: parse_csdl(body, system) for system, body in bodies.items()}


# --- both systems' arithmetic, one line at a time ---------------------------------------------------------------------


def decimals(frame: pl.DataFrame, *columns: str):
    return zip(*(frame[column].to_list() for column in columns), strict=True)


def priced_in_sales(lines: pl.DataFrame) -> pl.DataFrame:
    """What Sales makes of ``price``, ``quantity``, ``discount``, ``tax`` in ``currency``: ``base`` and ``extended``."""
    both = [
        line_amounts(price, quantity, discount, tax, places=PLACES[code])
        for price, quantity, discount, tax, code in decimals(lines, "price", "quantity", "discount", "tax", "currency")
    ]
    base, extended = zip(*both, strict=True)
    return lines.with_columns(base=amount_series(list(base)), extended=amount_series(list(extended)))


def summed_in_sales(headers: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Totals of Sales: the Freight Tax line is a line of its own, with the header's ``head_tax`` as price."""
    owned = {key: list(decimals(part, "base", "discount", "tax"))
             for (key,), part in lines.partition_by("document", as_dict=True).items()}  # fmt: skip
    found = [
        document_totals(
            [*owned[document], (head_tax, Decimal(0), Decimal(0))],
            percent=Decimal(0),
            discount=rebate,
            freight=freight,
            places=PLACES[code],
        )
        for document, rebate, freight, head_tax, code in decimals(
            headers, "document", "rebate", "freight", "head_tax", "currency"
        )
    ]
    names = ("totalamount", "totaltax", "totaldiscountamount")
    return headers.with_columns(**{name: amount_series([totals[name] for totals in found]) for name in names})


def worked_out_in_fno(lines: pl.DataFrame) -> pl.DataFrame:
    """What F&O makes of a whole line's ``discount``: per unit and charge, the whole again, the amount, the tax."""
    per_unit, charge, whole, net, tax = [], [], [], [], []
    for price, quantity, discount, rate, code in decimals(lines, "price", "quantity", "discount", "rate", "currency"):
        split = fno_amounts.split_discount(discount, quantity)
        row = {
            "Quantity": quantity,
            "SalesPrice": price,
            "SalesPriceQuantity": "1",
            "LineDiscountAmount": split.per_unit,
            "FixedPriceCharges": split.charge,
            **dict.fromkeys(("LineDiscountPercentage", "MultilineDiscountAmount", "MultilineDiscountPercentage"), "0"),
        }
        total, amount = fno_amounts.line_amounts(row, "Quantity", smallest_unit(code))
        per_unit.append(split.per_unit)
        charge.append(split.charge)
        whole.append(total)
        net.append(amount)
        tax.append(fno_amounts.tax_on(amount, rate, smallest_unit(code)))
    columns = {"per_unit": per_unit, "charge": charge, "whole": whole, "net": net, "tax": tax}
    return lines.with_columns(**{name: amount_series(values) for name, values in columns.items()})


def summed_in_fno(headers: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Totals of F&O: ``total``, ``all_tax`` (of lines and charges), ``head_tax`` (of charges)."""
    head_tax = [
        fno_amounts.tax_on(freight, rate, smallest_unit(code))
        for freight, rate, code in decimals(headers, "freight", "rate", "currency")
    ]
    sums = lines.group_by("document").agg(net=pl.col("net").sum().cast(MONEY), tax=pl.col("tax").sum().cast(MONEY))
    headers = headers.with_columns(head_tax=amount_series(head_tax)).join(
        sums, on="document", how="left", maintain_order="left"
    )
    all_tax = (pl.col("tax") + pl.col("head_tax")).cast(MONEY)
    total = (pl.col("net") - pl.col("rebate") + pl.col("freight") + all_tax).cast(MONEY)
    return headers.with_columns(all_tax=all_tax, total=total)


@pytest.fixture(scope="module")
def in_sales(documents) -> Documents:
    """As they stand in Sales before they are sent: no charges, no header discount and no tax, which do not travel."""
    nothing = pl.lit(Decimal(0), MONEY)
    lines = priced_in_sales(documents.lines.with_columns(tax=nothing))
    headers = documents.headers.with_columns(freight=nothing, rebate=nothing, head_tax=nothing, rate=nothing)
    return Documents(summed_in_sales(headers, lines), lines)


@pytest.fixture(scope="module")
def in_fno(documents) -> Documents:
    """As F&O has them when all is worked out."""
    lines = worked_out_in_fno(documents.lines)
    return Documents(summed_in_fno(documents.headers, lines), lines)


# --- one task, or a document's two tasks, on both sides ---------------------------------------------------------------


def mapped(task: Task, source: pl.DataFrame, metadata: dict[str, Metadata]):
    """Source rows through the template; what the document does not say is blank."""
    blank = [pl.lit(None, pl.String).alias(name) for name in source_columns(task) if name not in source.columns]
    return expected(source.with_columns(blank), task, metadata[task.destination.system].entity(task.destination.entity))


def hold(tasks, metadata, header: str, line: str, headers, lines, found_headers, found_lines) -> pl.DataFrame:
    """Compare a document's two tasks and tie them out; nothing may differ. Gives the compared lines."""
    kept = {}
    for task, source, found in ((tasks[header], headers, found_headers), (tasks[line], lines, found_lines)):
        ours = mapped(task, source, metadata)
        theirs = ours.rows.with_columns(**{name: found[column] for name, column in FOUND[task.name].items()})
        outcomes = compare(ours.rows, theirs, task, unmapped=ours.unmapped)
        assert outcomes.cells.rows() == []
        assert outcomes.count("matched") == source.height == ours.rows.height
        kept[task.name] = (ours.rows, theirs)
    how, currency = tasks[line].tie_out, tasks[header].currency
    sides = [
        tie_out(kept[header][number], kept[line][number], how, side, currency)
        for number, side in enumerate(("expected", "found"))
    ]
    assert [side.filter(pl.col("difference") != 0).rows() for side in sides] == [[], []]
    both = across(*sides)
    assert both.height == headers.height
    assert both.filter((pl.col("at_stake") != 0) | (pl.col("lines_expected") != pl.col("lines_found"))).rows() == []
    return kept[line][1]


FOUND = {
    "quote_headers": {"QuotationTotalAmount": "total"},
    "quote_lines": {"TotalDiscountAmount": "whole", "LineAmount": "net"},
    "order_headers_to_fno": {"OrderTotalAmount": "total"},
    "order_lines_to_fno": {"TotalDiscountAmount": "whole", "LineAmount": "net"},
    "order_headers_to_sales": {"totalamount": "totalamount", "totaltax": "totaltax"},
    "order_lines_to_sales": {"extendedamount": "extended"},
    "invoice_headers": {
        "totalamount": "totalamount",
        "totaltax": "totaltax",
        "totaldiscountamount": "totaldiscountamount",
    },
    "invoice_lines": {"extendedamount": "extended"},
}
"""What the other system works out for itself, by task: its column there, and what it is called here."""


def renamed(frame: pl.DataFrame, **names: str) -> pl.DataFrame:
    return frame.select(pl.col(column).alias(name) for name, column in names.items())


def lines_in_fno(in_fno: Documents, **names: str) -> pl.DataFrame:
    """Lines with the columns that orders and invoices of F&O have in common, and those named."""
    same = {"LineCreationSequenceNumber": "number", "CurrencyCode": "currency", "SalesPrice": "price"}
    lines = renamed(in_fno.lines, **same, **names, LineAmount="net")
    return lines.with_columns(SalesUnitSymbol=pl.lit("ea"), ProductNumber=pl.lit("P1"))


def totals_in_sales(in_fno: Documents) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Headers and lines as Sales works them out."""
    lines = priced_in_sales(in_fno.lines.with_columns(discount="whole"))
    return summed_in_sales(in_fno.headers, lines), lines


@pytest.mark.parametrize(
    ("header", "line"), [("quote_headers", "quote_lines"), ("order_headers_to_fno", "order_lines_to_fno")]
)
def test_what_sales_sends_is_what_fno_works_out(header, line, documents, in_sales, in_fno, tasks, metadata):
    number = "quotenumber" if header == "quote_headers" else "ordernumber"
    parent = "quoteid.quotenumber" if header == "quote_headers" else "salesorderid.ordernumber"
    headers = renamed(in_sales.headers, **{number: "document", ISO: "currency", "totalamount": "totalamount"})
    lines = renamed(
        in_sales.lines,
        **{parent: "document", ISO: "currency", "sequencenumber": "number", "priceperunit": "price"},
        quantity="quantity",
        manualdiscountamount="discount",
        extendedamount="extended",
        tax="tax",
    ).with_columns(pl.lit("Each").alias("uomid.name"), pl.lit("P1").alias("productid.productnumber"))
    untaxed = documents.headers.with_columns(
        pl.lit(Decimal(0), MONEY).alias(name) for name in ("rate", "freight", "rebate")
    )
    bare = in_fno.lines.with_columns(tax=pl.lit(Decimal(0), MONEY))
    hold(tasks, metadata, header, line, headers, lines, summed_in_fno(untaxed, bare), bare)


def test_what_comes_back_is_what_sales_works_out_and_the_discount_is_the_one_that_was_given(
    documents, in_fno, tasks, metadata
):
    headers = renamed(
        in_fno.headers,
        SalesOrderNumber="document",
        CurrencyCode="currency",
        OrderTotalAmount="total",
        TotalDiscountAmount="rebate",
        OrderTotalTaxAmount="all_tax",
        OrderHeaderTaxAmount="head_tax",
        OrderTotalChargesAmount="freight",
    ).with_columns(SalesOrderProcessingStatus=pl.lit("Invoiced"))
    names = {"SalesOrderNumber": "document", "OrderedSalesQuantity": "quantity"}
    lines = lines_in_fno(in_fno, **names, TotalDiscountAmount="whole", TotalTaxAmount="tax")
    back = hold(
        tasks, metadata, "order_headers_to_sales", "order_lines_to_sales", headers, lines, *totals_in_sales(in_fno)
    )
    given = documents.lines
    assert back.select("msdynce_ordernumber", "sequencenumber").equals(
        given.select(msdynce_ordernumber="document", sequencenumber="number")
    )
    assert back["manualdiscountamount"].to_list() == given["discount"].to_list()


def test_an_invoice_comes_to_the_same_on_both_sides(in_fno, tasks, metadata):
    headers = renamed(
        in_fno.headers,
        InvoiceNumber="document",
        SalesOrderNumber="document",
        CurrencyCode="currency",
        TotalInvoiceAmount="total",
        TotalDiscountCustomerGroupCode="rebate",
        TotalDiscountAmount="rebate",
        TotalTaxAmount="all_tax",
        InvoiceHeaderTaxAmount="head_tax",
        TotalChargeAmount="freight",
    )
    names = {"InvoiceNumber": "document", "InvoicedQuantity": "quantity"}
    lines = lines_in_fno(in_fno, **names, LineTotalDiscountAmount="whole", LineTotalTaxAmount="tax")
    hold(tasks, metadata, "invoice_headers", "invoice_lines", headers, lines, *totals_in_sales(in_fno))


# --- the money law itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", PLACES)
def test_the_published_example_is_among_the_documents_in_every_currency(code, in_fno):
    lines = in_fno.lines.filter(pl.col("document") == f"EXAMPLE-{code}")
    assert lines.select("per_unit", "charge", "whole").rows() == [
        (Decimal("3.33"), Decimal("-0.01"), Decimal(10)),
        (Decimal("6.67"), Decimal("0.01"), Decimal(20)),
    ]


def test_both_ways_to_split_a_discount_agree_and_give_it_back(documents, in_fno):
    split = split_discount(pl.col("discount"), pl.col("quantity"))
    mine = documents.lines.select("quantity", "discount", per_unit=split.per_unit, charge=split.charge).with_columns(
        back=join_discount(pl.col("per_unit"), pl.col("quantity"), pl.col("charge"))
    )
    assert mine["back"].to_list() == documents.lines["discount"].to_list()
    assert mine.select("per_unit", "charge").equals(in_fno.lines.select("per_unit", "charge"))
    assert in_fno.lines["whole"].to_list() == documents.lines["discount"].to_list()


def test_a_site_that_rounds_a_unit_by_its_currency_gets_its_discounts_back_too(documents):
    for code, places in PLACES.items():
        lines = documents.lines.filter(pl.col("currency") == code)
        split = split_discount(pl.col("discount"), pl.col("quantity"), places)
        mine = lines.select("quantity", "discount", per_unit=split.per_unit, charge=split.charge)
        assert mine["per_unit"].to_list() == [
            fno_amounts.split_discount(discount, quantity, smallest_unit(code)).per_unit
            for discount, quantity in decimals(lines, "discount", "quantity")
        ]
        back = mine.select(D=join_discount(pl.col("per_unit"), pl.col("quantity"), pl.col("charge")))["D"]
        assert back.to_list() == lines["discount"].to_list()


def test_the_parts_of_every_document_add_up_to_both_systems_totals(in_fno):
    lines = priced_in_sales(in_fno.lines.with_columns(discount="whole"))
    headers = summed_in_sales(in_fno.headers, lines)
    sums = lines.group_by("document").agg(extended=pl.col("extended").sum().cast(MONEY))
    held = headers.join(sums, on="document", how="left").with_columns(
        mine=document_total(*(pl.col(name) for name in ("extended", "rebate", "freight", "head_tax")))
    )
    assert held.filter((pl.col("mine") != pl.col("total")) | (pl.col("mine") != pl.col("totalamount"))).rows() == []
    made = headers.filter(pl.col("head_tax") != 0).select("document", amount="head_tax")
    assert freight_tax(headers.select("document", header_tax="head_tax"), made)["fault"].drop_nulls().is_empty()


def test_every_kind_of_line_is_among_the_documents(documents, in_fno):
    """The seed may be changed, but not so that a case is left out."""
    lines = documents.lines.with_columns(
        gross=(pl.col("price") * pl.col("quantity")).cast(MONEY), charge=in_fno.lines["charge"], net=in_fno.lines["net"]
    )
    for code in PLACES:
        of = lines.filter(pl.col("currency") == code)
        assert of["document"].n_unique() > COUNT / len(PLACES) / 2
        for case in (
            pl.col("quantity") < 0,
            pl.col("quantity") == 0,
            pl.col("quantity") != pl.col("quantity").round(0),
            pl.col("discount") < 0,
            pl.col("charge") < 0,
            pl.col("charge") > 0,
            (pl.col("gross") > 0) & (pl.col("net") < 0),
        ):
            assert of.filter(case).height, (code, str(case))
    assert set(documents.lines.group_by("document").len()["len"]) == set(range(1, 13))


@pytest.mark.parametrize(("code", "places"), PLACES.items())
def test_the_currencies_of_this_file_have_the_places_it_says(code, places):
    assert smallest_unit(code) == Decimal(1).scaleb(-places)
