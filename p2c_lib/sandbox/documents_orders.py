"""Orders of both systems at all stages of their life: born in Sales and sent, or born in F&O; some have come back."""

from __future__ import annotations

import numpy as np
import polars as pl

from p2c_lib.sandbox.documents_columns import delivery, product, sales_head, sales_line, tax_lines, yes_no
from p2c_lib.sandbox.documents_parts import (
    Masters,
    in_money,
    line_facts,
    noon,
    pieces,
    references,
    region_iso,
    tax_of,
    tax_rate,
    totals,
)
from p2c_lib.sandbox.draw import Draw
from p2c_lib.sandbox.traits import as_fno, life, numbers

__all__ = ["fno_orders", "order_facts", "sales_orders"]

DRAFT, ACTIVE = 647390011, 647390000
PROCESSING = {
    "Active": ACTIVE,
    "Confirmed": 647390001,
    "Picked": 647390004,
    "PartiallyDelivered": 647390008,
    "Delivered": 647390007,
    "PartiallyInvoiced": 647390009,
    "DeliveredPartiallyInvoiced": 647390009,
    "Invoiced": 647390003,
    "Canceled": 647390010,
}
ORDER_STATUS = {"Delivered": "Delivered", "DeliveredPartiallyInvoiced": "Delivered"} | {
    name: name for name in ("Invoiced", "Canceled")
}
# stage, born in, share of all orders, status in F&O (null: not there)
STAGES = (
    ("draft", "sales", 0.05, None),
    ("mixed", "sales", 0.05, None),  # with a product that F&O does not know
    ("dropped", "sales", 0.02, None),
    ("own", "sales", 0.02, None),  # fulfilled without F&O
    ("sent", "sales", 0.18, "Active"),
    ("pending", "sales", 0.04, "Confirmed"),  # totals not updated yet
    ("back", "sales", 0.07, "Confirmed"),
    ("back", "sales", 0.03, "Picked"),
    ("back", "sales", 0.03, "PartiallyDelivered"),
    ("back", "sales", 0.06, "Delivered"),
    ("back", "sales", 0.03, "PartiallyInvoiced"),
    ("back", "sales", 0.02, "DeliveredPartiallyInvoiced"),
    ("back", "sales", 0.12, "Invoiced"),
    ("back", "sales", 0.02, "Canceled"),
    ("open", "fno", 0.03, "Active"),
    ("pending", "fno", 0.02, "Confirmed"),
    ("elsewhere", "fno", 0.02, "Delivered"),  # a customer of F&O's own pays
    ("stranger", "fno", 0.02, "Confirmed"),  # a customer of F&O's own buys
    ("german", "fno", 0.01, "Confirmed"),
    ("back", "fno", 0.05, "Confirmed"),
    ("back", "fno", 0.01, "PartiallyDelivered"),
    ("back", "fno", 0.02, "Delivered"),
    ("back", "fno", 0.01, "PartiallyInvoiced"),
    ("back", "fno", 0.06, "Invoiced"),
    ("back", "fno", 0.01, "Canceled"),
)


def order_facts(draw: Draw, n: int, masters: Masters) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is known about orders and their lines, by anybody.

    Args:
        draw: Stream to draw from.
        n: Orders.
        masters: Customers and products.

    Returns:
        Orders (``doc``, ``order``, ``stage``, ``born``, ``status``, the customer, ``freight``, ``rebate`` and
        ``head_tax`` in cents, totals of the lines, ...) and lines (as `line_facts` gives them).
    """
    shares = np.array([stage[2] for stage in STAGES])
    row = draw.rng.choice(len(STAGES), n, p=shares / shares.sum())
    stages = pl.DataFrame(
        {
            "stage": [stage[0] for stage in STAGES],
            "born": [stage[1] for stage in STAGES],
            "status": [stage[3] for stage in STAGES],
        }
    )
    heads = stages[row].with_row_index("doc")
    # F&O puts no tax on what was sent: so Sales and F&O agree about a total before it comes back
    untaxed = masters.parties.filter("exempt")
    sent = pl.Series(heads["stage"].is_in(["sent", "pending"]))
    sure, any_one = (parties[draw.integers(n, 0, parties.height)] for parties in (untaxed, masters.parties))
    buyers = any_one.select(
        pl.when(sent).then(sure[name]).otherwise(any_one[name]).alias(name) for name in any_one.columns
    )
    for stage, company in (("stranger", "usmf"), ("german", "demf")):
        others = masters.foreign.filter(company=company)
        chosen = pl.Series(heads["stage"] == stage)
        picked = others[draw.integers(n, 0, others.height)]
        buyers = buyers.select(
            pl.when(chosen).then(picked[name] if name in picked.columns else None).otherwise(buyers[name]).alias(name)
            for name in buyers.columns
        )
    payers = masters.foreign.filter(company="usmf")["number"]
    payer = payers.gather(draw.integers(n, 0, payers.len()))
    heads = heads.hstack(buyers).hstack(life(draw, n).drop("_ownerid_value"))
    fno_number = pl.format("{}{}", pl.lit("00"), pl.Series(np.arange(n) + 1000).cast(pl.String).str.zfill(7))
    heads = heads.with_columns(
        order=pl.when(pl.col("born") == "sales").then(numbers("ORD", draw, n)).otherwise(fno_number),
        company=pl.when(pl.col("stage") == "german").then(pl.lit("demf")).otherwise(pl.lit("usmf")),
        payer=pl.when(pl.col("stage") == "elsewhere").then(payer).otherwise("number"),
        reference=references(draw, n),
        line2=pl.when(draw.chance(n, 0.25)).then(draw.pick(["Building 4", "Tor 3", "c/o Müller", "Gate B"], n)),
        back=pl.col("stage") == "back",
        billed=pl.col("status").is_in(["PartiallyInvoiced", "DeliveredPartiallyInvoiced", "Invoiced"]),
        least=pl.when(pl.col("status").str.contains("PartiallyI")).then(2).otherwise(1).fill_null(1),
        mixed=pl.col("stage").is_in(["mixed", "own"]),
        # the ISO code of a blank or odd country is what was sent for orders of Sales, F&O's own otherwise
        ship_iso=pl.when(born="sales").then("ship_iso").otherwise(pl.col("ship_iso").replace({"JA": "JP"})),
        tax_rate=tax_rate(),
    )
    lines = line_facts(draw, heads, masters.goods, masters.own)
    heads = heads.join(totals(lines), on="doc", how="left", maintain_order="left")
    freight = pl.Series(draw.integers(n, 500, 25_000) * (draw.rng.random(n) < 0.45))
    rebate = pl.Series(draw.rng.random(n) < 0.15)
    heads = heads.with_columns(
        freight=pl.when("back").then(freight).otherwise(0),
        rebate=pl.when(pl.col("back") & rebate).then(pl.col("net_total") // 50).otherwise(0),
    ).with_columns(head_tax=tax_of(pl.col("freight")))
    return heads, lines


def sales_orders(draw: Draw, heads: pl.DataFrame, lines: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Orders of Sales with their lines.

    Args:
        draw: Stream to draw from.
        heads: Orders, as `order_facts` gives them.
        lines: Their lines.

    Returns:
        ``salesorders`` and ``salesorderdetails``.
    """
    heads = heads.filter((pl.col("born") == "sales") | pl.col("back"))
    heads = heads.with_columns(salesorderid=draw.guids(heads.height))
    back, status = pl.col("back"), pl.col("stage")
    invoiced = back & pl.col("billed")
    worth = pl.col("net_total") + pl.col("head_tax")
    heads = heads.with_columns(
        processing=pl.when(back)
        .then(pl.col("status").replace_strict(PROCESSING, return_dtype=pl.Int32, default=None))
        .when(status.is_in(["sent", "pending"]))
        .then(ACTIVE)
        .otherwise(DRAFT)
        .cast(pl.Int32),
        statecode=pl.when(invoiced)
        .then(4)
        .when(stage="own")
        .then(3)
        .when(stage="dropped")
        .then(2)
        .otherwise(0)
        .cast(pl.Int32),
        statuscode=pl.when(invoiced)
        .then(100003)
        .when(stage="own")
        .then(100001)
        .when(stage="dropped")
        .then(4)
        .otherwise(1)
        .cast(pl.Int32),
        tax_total=pl.when(back).then("tax_total").otherwise(0),
        line_total=pl.when(back).then(worth).otherwise("net_total"),
    )
    heads = heads.with_columns(less_freight=pl.col("line_total") - pl.col("rebate"))
    heads = heads.with_columns(total=pl.col("less_freight") + pl.col("freight") + pl.col("tax_total"))
    amounts = ("rebate", "freight", "head_tax", "line_total", "less_freight", "tax_total", "total")
    shown = in_money(heads, *amounts)
    country = {"bill": region_iso("bill_region"), "ship": pl.col("ship_iso")}
    orders = shown.select(
        salesorderid="salesorderid",
        ordernumber="order",
        name=pl.when(back).then("party").otherwise("reference"),
        description=pl.when(back).then("reference"),
        msdynce_processingstatus="processing",
        msdynce_hasexternallymaintainedproductsonly=~pl.col("mixed"),
        msdynce_ismaintainedexternally=back,
        msdynce_misctax=pl.when(back).then("head_tax"),
        statecode="statecode",
        statuscode="statuscode",
        submitdate=pl.when(status.is_in(["sent", "pending"])).then("createdon"),
        discountamount=pl.when(back).then("rebate"),
        freightamount=pl.when(back).then("freight"),
        totallineitemamount="line_total",
        totaldiscountamount="rebate",
        totalamountlessfreight="less_freight",
        totaltax="tax_total",
        totalamount="total",
        **{
            f"{end}to_{name}": pl.col(f"{end}_{name}")
            for end in ("ship", "bill")
            for name in ("line1", "city", "stateorprovince", "postalcode")
        },
        **{f"{end}to_country": pl.when(back).then(code).otherwise(f"{end}_country") for end, code in country.items()},
        shipto_line2="line2",
    ).hstack(sales_head(heads))
    columns = ["doc", "salesorderid", "order", "back", "stage", "mixed", "statecode", "currency", "owner", "line2"]
    columns += ["_owningbusinessunit_value", "createdon", "modifiedon", "ship_iso", "head_tax"]
    columns += [f"ship_{name}" for name in ("line1", "city", "stateorprovince", "postalcode")]
    owned = pieces(lines).join(heads.select(columns), on="doc", how="inner", maintain_order="left")
    owned = owned.with_columns(tax=pl.when("back").then("tax"), known=pl.col("written").is_null() & ~pl.col("foreign"))
    submitted = pl.col("stage").is_in(["sent", "pending"]) | (pl.col("order").str.starts_with("ORD") & back)
    returned = owned.select(
        salesorderdetailid=draw.guids(owned.height),
        _salesorderid_value="salesorderid",
        description=pl.when(back).then("title"),
        tax="tax",
        extendedamount=pl.col("base") - pl.col("discount") + pl.col("tax").fill_null(0),
        ispriceoverridden=back | pl.col("overridden"),
        msdynce_ismaintainedexternally=back | pl.col("known"),
        msdynce_ismisctax=pl.lit(False),
        msdynce_orderhasexternalmaintainedproductsonly=~pl.col("mixed"),
        msdynce_orderissubmitted=submitted,
        msdynce_ordernumber="order",
        salesorderstatecode="statecode",
        **{
            f"shipto_{name}": pl.when(back).then(f"ship_{name}")
            for name in ("line1", "city", "stateorprovince", "postalcode")
        },
        shipto_line2=pl.when(back).then("line2"),
        shipto_country=pl.when(back).then("ship_iso"),
    ).hstack(sales_line(owned, "salesorderdetailname"))
    # a discount that nobody entered is empty on an order that has not come back
    blank = (pl.col("manualdiscountamount") == 0) & pl.Series(~owned["back"])
    returned = returned.with_columns(manualdiscountamount=pl.when(~blank).then("manualdiscountamount"))
    extra = tax_lines(draw, shown.filter(heads["back"] & (heads["head_tax"] > 0)), "salesorder", "order")
    extra = extra.with_columns(
        salesorderstatecode="state", msdynce_ordernumber="document", msdynce_orderhasexternalmaintainedproductsonly=True
    ).drop("state", "document")
    return {"salesorders": orders, "salesorderdetails": pl.concat([returned, extra], how="diagonal")}


def fno_orders(heads: pl.DataFrame, lines: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Orders of F&O with their lines.

    Args:
        heads: Orders, as `order_facts` gives them.
        lines: Their lines.

    Returns:
        ``CDSSalesOrderHeaders`` and ``CDSSalesOrderLines``.
    """
    heads = heads.filter(pl.col("status").is_not_null())
    known = ~pl.col("stage").is_in(["stranger", "german"])
    summed = ~pl.col("stage").is_in(["sent", "pending", "open"])
    sent = pl.col("born") == "sales"
    heads = heads.with_columns(
        total=pl.col("net_total") + pl.col("tax_total") - pl.col("rebate") + pl.col("freight") + pl.col("head_tax"),
        all_tax=pl.col("tax_total") + pl.col("head_tax"),
        buyer_known=yes_no(known),
        payer_known=yes_no(known & (pl.col("stage") != "elsewhere")),
        updated=yes_no(summed),
        origin=pl.when(sent).then(pl.lit("SalesOrderIntegration")).otherwise(pl.lit("NotSpecified")),
        order_status=pl.col("status").replace_strict(ORDER_STATUS, default="Backorder", return_dtype=pl.String),
    )
    shown = in_money(heads, "total", "all_tax", "rebate", "freight", "head_tax")
    order = shown.select(
        dataAreaId="company",
        SalesOrderNumber="order",
        SalesOrderName="party",
        CustomersOrderReference="reference",
        OrderingCustomerAccountNumber="number",
        InvoiceCustomerAccountNumber="payer",
        OrderingCustomerIsExternallyMaintained="buyer_known",
        InvoiceCustomerIsExternallyMaintained="payer_known",
        CurrencyCode="currency",
        LanguageId=pl.lit("en-us"),
        SalesOrderStatus="order_status",
        SalesOrderProcessingStatus="status",
        SalesOrderOriginType="origin",
        AreTotalsUpdated="updated",
        OrderTotalAmount="total",
        OrderTotalTaxAmount="all_tax",
        OrderTotalChargesAmount="freight",
        OrderHeaderTaxAmount="head_tax",
        TotalDiscountAmount="rebate",
        OrderTotalDiscountAmount="rebate",
        OrderCreationDateTime="createdon",
        RequestedReceiptDate=noon("createdon", 14),
        RequestedShippingDate=noon("createdon", 10),
        **delivery(sent),
        InvoiceAddressStreet="bill_line1",
        InvoiceAddressCity="bill_city",
        InvoiceAddressStateId="bill_stateorprovince",
        InvoiceAddressZipCode="bill_postalcode",
        InvoiceAddressCountryRegionId="bill_region",
        InvoiceAddressCountryRegionISOCode=region_iso("bill_region"),
    )
    columns = ["doc", "order", "company", "buyer_known", "payer_known", "currency", "status", "order_status", "origin"]
    columns += ["updated", "createdon", "born", "reference", "line2", "ship_iso"]
    columns += [f"ship_{name}" for name in ("line1", "city", "stateorprovince", "postalcode")]
    owned = pieces(lines).join(heads.select(columns), on="doc", how="inner", maintain_order="left")
    line = owned.select(
        dataAreaId="company",
        SalesOrderNumber="order",
        LineCreationSequenceNumber="seq",
        SalesOrderNumberHeader="order",
        **product(),
        OrderedSalesQuantity="quantity",
        AreTotalsCalculated="updated",
        AreSalesOrderTotalsUpdated="updated",
        SalesOrderProcessingStatus="status",
        SalesOrderLineStatus="order_status",
        SalesOrderOriginType="origin",
        OrderingCustomerIsExternallyMaintained="buyer_known",
        InvoiceCustomerIsExternallyMaintained="payer_known",
        ShippingSiteId=pl.lit("1"),
        ShippingWarehouseId=pl.lit("13"),
        RequestedReceiptDate=noon("createdon", 14),
        RequestedShippingDate=noon("createdon", 10),
        **delivery(sent),
    )
    return {"CDSSalesOrderHeaders": as_fno(order), "CDSSalesOrderLines": as_fno(line)}
