"""Quotes of Sales, the quotations of F&O that they became, and quotations that were entered in F&O."""

from __future__ import annotations

import numpy as np
import polars as pl

from p2c_lib.sandbox.documents_columns import product, sales_head, sales_line, yes_no
from p2c_lib.sandbox.documents_parts import Masters, in_money, line_facts, noon, pieces, references, totals
from p2c_lib.sandbox.draw import Draw
from p2c_lib.sandbox.fno_amounts import REGIONS
from p2c_lib.sandbox.traits import as_fno, life, numbers

__all__ = ["quotes"]

# stage, share, statecode, statuscode, status in F&O (null: not there)
STAGES = (
    ("draft", 0.14, 0, 1, None),
    ("mixed draft", 0.06, 0, 1, None),
    ("mixed", 0.06, 1, 3, None),  # active, with a product that F&O does not know
    ("active", 0.42, 1, 3, "Created"),
    ("active", 0.05, 1, 2, "Sent"),
    ("won", 0.1, 2, 4, "Confirmed"),
    ("closed", 0.05, 3, 5, "Lost"),
    ("closed", 0.03, 3, 6, "Cancelled"),
    ("closed", 0.03, 3, 647390000, "Confirmed"),
    ("revised", 0.03, 3, 7, None),
    ("fno", 0.03, None, None, "Created"),
)


def quotes(draw: Draw, n: int, masters: Masters) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    """Quotes of both systems.

    Args:
        draw: Stream to draw from.
        n: Quotes.
        masters: Customers and products.

    Returns:
        ``quotes`` and ``quotedetails`` of Sales; ``CDSSalesQuotationHeaders`` and ``CDSSalesQuotationLines`` of F&O.
    """
    shares = np.array([stage[1] for stage in STAGES])
    stages = pl.DataFrame(
        {
            "stage": [stage[0] for stage in STAGES],
            "statecode": pl.Series([stage[2] for stage in STAGES], dtype=pl.Int32),
            "statuscode": pl.Series([stage[3] for stage in STAGES], dtype=pl.Int32),
            "status": [stage[4] for stage in STAGES],
        }
    )
    heads = stages[draw.rng.choice(len(STAGES), n, p=shares / shares.sum())].with_row_index("doc")
    untaxed = masters.parties.filter("exempt")  # so that both systems agree about the totals
    heads = heads.hstack(untaxed[draw.integers(n, 0, untaxed.height)])
    heads = heads.hstack(life(draw, n).drop("_ownerid_value"))
    number = numbers("QUO", draw, n)
    active = number.filter(heads["stage"] == "active")
    other = active.gather(draw.integers(n, 0, active.len())) if active.len() else number
    running = pl.Series(np.arange(n) + 1000).cast(pl.String).str.zfill(7)
    heads = heads.with_columns(
        # a revision keeps the number of the quote that took its place
        quote=pl.when(stage="revised").then(other).when(stage="fno").then(pl.format("QT{}", running)).otherwise(number),
        reference=references(draw, n),
        line2=pl.when(draw.chance(n, 0.25)).then(draw.pick(["Building 4", "Tor 3", "c/o Müller", "Gate B"], n)),
        least=pl.lit(1),
        tax_rate=pl.lit(0, pl.Int64),
        mixed=pl.col("stage").str.starts_with("mixed"),
        quoteid=draw.guids(n),
    )
    lines = line_facts(draw, heads, masters.goods, masters.own)
    heads = heads.join(totals(lines), on="doc", how="left", maintain_order="left")
    heads = in_money(heads, "net_total")
    columns = ["doc", "quote", "quoteid", "stage", "statecode", "status", "mixed", "currency", "owner", "line2"]
    columns += ["reference", "_owningbusinessunit_value", "createdon", "modifiedon", "ship_iso", "bill_postalcode"]
    columns += ["ship_line1", "ship_city", "ship_stateorprovince"]
    lines = pieces(lines).join(heads.select(columns), on="doc", how="left", maintain_order="left")
    return _sales(draw, heads, lines), _fno(heads, lines)


def _sales(draw: Draw, heads: pl.DataFrame, lines: pl.DataFrame) -> dict[str, pl.DataFrame]:
    heads, lines = (frame.filter(pl.col("stage") != "fno") for frame in (heads, lines))
    head = heads.select(
        quoteid="quoteid",
        quotenumber="quote",
        name="reference",
        revisionnumber=pl.lit(0, pl.Int32),
        statecode="statecode",
        statuscode="statuscode",
        msdynce_hasexternallymaintainedproductsonly=~pl.col("mixed"),
        msdynce_ismaintainedexternally=False,
        totallineitemamount="net_total",
        totalamountlessfreight="net_total",
        totalamount="net_total",
        totaltax=pl.col("net_total") * 0,
        billto_line2="line2",
        **{
            f"{end}to_{name}": pl.col(f"{end}_{name}")
            for end in ("ship", "bill")
            for name in ("line1", "city", "stateorprovince", "postalcode", "country")
        },
    ).hstack(sales_head(heads))
    known = pl.col("written").is_null() & ~pl.col("foreign")
    line = lines.select(
        quotedetailid=draw.guids(lines.height),
        _quoteid_value="quoteid",
        extendedamount="net",
        ispriceoverridden="overridden",
        quotestatecode="statecode",
        msdynce_ismaintainedexternally=known,
        msdynce_quotehasexternalmaintainedproductsonly=~pl.col("mixed"),
        msdynce_quoterevisionnumber=pl.lit(0, pl.Int32),
    ).hstack(sales_line(lines, "quotedetailname"))
    discount = pl.col("manualdiscountamount")
    line = line.with_columns(manualdiscountamount=pl.when(discount != 0).then(discount))
    return {"quotes": head, "quotedetails": line}


def _fno(heads: pl.DataFrame, lines: pl.DataFrame) -> dict[str, pl.DataFrame]:
    heads, lines = (frame.filter(pl.col("status").is_not_null()) for frame in (heads, lines))
    ours = pl.col("stage") != "fno"
    maker = pl.when(ours).then(pl.lit("Dynamics365Sales")).otherwise(pl.lit("SCM"))
    # as the template sends it: the bill-to address's second line and postal code in the delivery address
    address = {
        "IsDeliveryAddressOrderSpecific": yes_no(ours),
        "DeliveryAddressName": pl.when(ours).then("reference"),
        "DeliveryAddressDescription": pl.when(ours).then("reference"),
        "DeliveryAddressStreet": pl.col("ship_line1"),
        "DeliveryAddressStreetNumber": pl.col("line2"),
        "DeliveryAddressCity": pl.col("ship_city"),
        "DeliveryAddressStateId": pl.col("ship_stateorprovince"),
        "DeliveryAddressZipCode": pl.col("bill_postalcode"),
        "DeliveryAddressCountryRegionISOCode": pl.col("ship_iso"),
        "DeliveryAddressCountryRegionId": pl.col("ship_iso").replace_strict(REGIONS, return_dtype=pl.String),
    }
    head = heads.select(
        dataAreaId=pl.lit("usmf"),
        SalesQuotationNumber="quote",
        SalesQuotationName="reference",
        RequestingCustomerAccountNumber="number",
        InvoiceCustomerAccountNumber="number",
        CurrencyCode="currency",
        LanguageId=pl.lit("en-us"),
        SalesQuotationStatus="status",
        SalesQuotationHeaderCreationMethod=maker,
        QuotationTotalAmount="net_total",
        AreTotalsCalculated=pl.lit("No"),
        RequestedShippingDate=noon("createdon", 10),
        ReceiptDateRequested=noon("createdon", 14),
        **address,
    )
    line = lines.select(
        dataAreaId=pl.lit("usmf"),
        SalesQuotationNumber="quote",
        LineCreationSequenceNumber="seq",
        **product(),
        RequestedSalesQuantity="quantity",
        SalesQuotationStatus="status",
        SalesQuotationLineCreationMethod=maker,
        AreTotalsCalculated=pl.lit("No"),
        ShippingSiteId=pl.lit("1"),
        ShippingWarehouseId=pl.lit("13"),
        RequestedShippingDate=noon("createdon", 10),
        RequestedReceiptDate=noon("createdon", 14),
        **address,
    )
    return {"CDSSalesQuotationHeaders": as_fno(head), "CDSSalesQuotationLines": as_fno(line)}
