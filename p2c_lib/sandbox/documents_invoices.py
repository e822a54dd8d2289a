"""Invoices that F&O posted for orders, and what became of them in Sales; beside them Sales has a few of its own."""

from __future__ import annotations

import numpy as np
import polars as pl

from p2c_lib.sandbox.documents_columns import sales_head, sales_line, tax_lines
from p2c_lib.sandbox.documents_parts import in_money, noon, pieces, region_iso, totals
from p2c_lib.sandbox.draw import Draw
from p2c_lib.sandbox.traits import as_fno, numbers

__all__ = ["invoices"]

TWO = 0.25  # of the fully invoiced orders: those with two invoices


def invoices(
    draw: Draw, heads: pl.DataFrame, lines: pl.DataFrame, orders: pl.DataFrame
) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    """Invoices of both systems.

    Args:
        draw: Stream to draw from.
        heads: Orders, as `order_facts` gives them.
        lines: Their lines.
        orders: ``salesorders``; ``ordernumber`` and ``salesorderid`` are read.

    Returns:
        ``invoices`` and ``invoicedetails`` of Sales; headers and lines of F&O's invoices of customers from Sales.
    """
    billed = _posted(draw, heads.filter(pl.col("back") & pl.col("billed")))
    # the first invoice has the first half of the lines and the header charges, the second one the other lines
    both = lines.join(billed.select("doc", "part", "parts", "invoice"), on="doc", how="inner", maintain_order="left")
    half = (pl.col("lines") + 1) // 2
    first = pl.col("seq") <= half
    both = both.filter(
        pl.when(pl.col("parts") == 1).then(pl.lit(True)).when(pl.col("part") == 1).then(first).otherwise(~first)
    )
    billed = billed.rename({"net_total": "order_net"}).drop("tax_total", "count")
    billed = billed.join(totals(both, "invoice"), on="invoice", how="inner", maintain_order="left")
    is_first = pl.col("part") == 1
    charges = [pl.when(is_first).then(name).otherwise(0).alias(name) for name in ("freight", "head_tax")]
    # the header discount is shared by amount; the second invoice takes what rounding left
    other = pl.col("order_net") - pl.col("net_total")
    mine, theirs = (
        (2 * pl.col("rebate") * net + pl.col("order_net")) // (2 * pl.col("order_net"))
        for net in (pl.col("net_total"), other)
    )
    charges.append(pl.when(is_first).then(mine).otherwise(pl.col("rebate") - theirs).alias("rebate"))
    billed = billed.with_columns(charges)
    billed = billed.with_columns(
        line_total=pl.col("net_total") + pl.col("head_tax"), all_tax=pl.col("tax_total") + pl.col("head_tax")
    ).with_columns(less_freight=pl.col("line_total") - pl.col("rebate"))
    billed = billed.with_columns(total=pl.col("less_freight") + pl.col("freight") + pl.col("tax_total"))
    ids = orders.select("salesorderid", order="ordernumber")
    billed = billed.join(ids, on="order", how="left", maintain_order="left")
    billed = billed.with_columns(invoiceid=draw.guids(billed.height), statecode=pl.lit(0, pl.Int32))
    names = ("line_total", "less_freight", "total", "all_tax", "tax_total", "freight", "rebate", "head_tax")
    shown = in_money(billed, *names)
    columns = ["invoice", "invoiceid", "posted", "voucher", "currency", "owner", "createdon", "modifiedon"]
    owned = pieces(both).join(billed.select(*columns, "_owningbusinessunit_value"), on="invoice", maintain_order="left")
    own = _own(draw, heads.filter(stage="own"), lines, orders)
    sales = {
        "invoices": pl.concat([_sales_head(shown), own[0]], how="diagonal"),
        "invoicedetails": pl.concat([_sales_lines(draw, owned, shown), own[1]], how="diagonal"),
    }
    return sales, _fno(shown, owned)


def _posted(draw: Draw, orders: pl.DataFrame) -> pl.DataFrame:
    """A row an invoice: orders with number, voucher, day, which part of how many."""
    split = (pl.col("status") == "Invoiced") & (pl.col("count") > 1) & draw.chance(orders.height, TWO)
    orders = orders.with_columns(parts=pl.when(split | (pl.col("status") != "Invoiced")).then(2).otherwise(1))
    first = orders.with_columns(part=pl.lit(1))
    second = orders.filter((pl.col("parts") == 2) & (pl.col("status") == "Invoiced")).with_columns(part=pl.lit(2))
    rows = pl.concat([first, second])
    running = pl.Series(np.arange(rows.height) + 1).cast(pl.String)
    return rows.with_columns(
        invoice=pl.format("CIV-{}", running.str.zfill(6)),
        voucher=pl.format("ARI{}", running.str.zfill(8)),
        posted=noon("createdon", 20) + pl.duration(days=pl.col("part") * 7),
    )


def _sales_head(shown: pl.DataFrame) -> pl.DataFrame:
    return shown.select(
        invoiceid="invoiceid",
        invoicenumber="invoice",
        name="invoice",
        description="reference",
        msdynce_invoicedate=pl.col("posted").dt.date().cast(pl.String),
        msdynce_ismaintainedexternally=True,
        msdynce_hasexternallymaintainedproductsonly=True,
        msdynce_misctax="head_tax",
        ispricelocked=True,
        statecode="statecode",
        statuscode=pl.lit(4, pl.Int32),
        _salesorderid_value="salesorderid",
        billto_line1="bill_line1",
        billto_city="bill_city",
        billto_stateorprovince="bill_stateorprovince",
        billto_postalcode="bill_postalcode",
        billto_country=region_iso("bill_region"),
        discountamount="rebate",
        freightamount="freight",
        totallineitemamount="line_total",
        totaldiscountamount="rebate",
        totalamountlessfreight="less_freight",
        totaltax="tax_total",
        totalamount="total",
    ).hstack(sales_head(shown))


def _sales_lines(draw: Draw, owned: pl.DataFrame, shown: pl.DataFrame) -> pl.DataFrame:
    lines = owned.select(
        invoicedetailid=draw.guids(owned.height),
        _invoiceid_value="invoiceid",
        description="title",
        tax="tax",
        extendedamount=pl.col("net") + pl.col("tax"),
        ispriceoverridden=True,
        msdynce_ismaintainedexternally=True,
        msdynce_ismisctax=False,
        msdynce_invoicenumber="invoice",
        msdynce_invoicedate=pl.col("posted").dt.date().cast(pl.String),
        invoicestatecode=pl.lit(0, pl.Int32),
        invoiceispricelocked=True,
        producttypecode=pl.lit(1, pl.Int32),
        propertyconfigurationstatus=pl.lit(2, pl.Int32),
    ).hstack(sales_line(owned, "invoicedetailname"))
    extra = tax_lines(draw, shown.filter(pl.col("head_tax") > 0), "invoice", "invoice")
    extra = extra.rename({"state": "invoicestatecode", "document": "msdynce_invoicenumber"})
    return pl.concat([lines, extra.with_columns(producttypecode=pl.lit(1, pl.Int32))], how="diagonal")


def _own(
    draw: Draw, heads: pl.DataFrame, lines: pl.DataFrame, orders: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Invoices that Sales made itself of orders F&O never saw."""
    n = heads.height
    ids = orders.select("salesorderid", order="ordernumber")
    heads = heads.join(ids, on="order", how="left", maintain_order="left")
    heads = heads.with_columns(invoiceid=draw.guids(n), invoice=numbers("INV", draw, n))
    shown = in_money(heads, "net_total")
    head = shown.select(
        invoiceid="invoiceid",
        invoicenumber="invoice",
        name="reference",
        msdynce_ismaintainedexternally=False,
        msdynce_hasexternallymaintainedproductsonly=False,
        statecode=pl.lit(0, pl.Int32),
        statuscode=pl.lit(1, pl.Int32),
        _salesorderid_value="salesorderid",
        billto_line1="bill_line1",
        billto_city="bill_city",
        billto_stateorprovince="bill_stateorprovince",
        billto_postalcode="bill_postalcode",
        billto_country="bill_country",
        totallineitemamount="net_total",
        totalamountlessfreight="net_total",
        totalamount="net_total",
    ).hstack(sales_head(shown))
    columns = ["doc", "invoiceid", "currency", "owner", "createdon", "modifiedon", "_owningbusinessunit_value"]
    owned = pieces(lines).join(heads.select(columns), on="doc", how="inner", maintain_order="left")
    line = owned.select(
        invoicedetailid=draw.guids(owned.height),
        _invoiceid_value="invoiceid",
        extendedamount="net",
        ispriceoverridden="overridden",
        msdynce_ismaintainedexternally=False,
        msdynce_ismisctax=False,
        invoicestatecode=pl.lit(0, pl.Int32),
    ).hstack(sales_line(owned, "invoicedetailname"))
    return head, line


def _fno(shown: pl.DataFrame, owned: pl.DataFrame) -> dict[str, pl.DataFrame]:
    origin = pl.when(born="sales").then(pl.lit("SalesOrderIntegration")).otherwise(pl.lit("NotSpecified"))
    head = shown.select(
        dataAreaId=pl.lit("usmf"),
        InvoiceNumber="invoice",
        InvoiceDate="posted",
        LedgerVoucher="voucher",
        SalesOrderNumber="order",
        SalesOrderOriginType=origin,
        InvoiceCustomerAccountNumber="number",
        CustomersOrderReference="reference",
        CurrencyCode="currency",
        InvoiceAddressStreet="bill_line1",
        InvoiceAddressCity="bill_city",
        InvoiceAddressState="bill_stateorprovince",
        InvoiceAddressZipCode="bill_postalcode",
        InvoiceAddressCountryRegionId="bill_region",
        InvoiceAddressCountryRegionISOCode=region_iso("bill_region"),
        TotalDiscountCustomerGroupCode="rebate",
        TotalDiscountAmount="rebate",
        TotalChargeAmount="freight",
        TotalTaxAmount="all_tax",
        InvoiceHeaderTaxAmount="head_tax",
        TotalInvoiceAmount="total",
    )
    line = owned.select(
        dataAreaId=pl.lit("usmf"),
        InvoiceNumber="invoice",
        InvoiceDate="posted",
        LedgerVoucher="voucher",
        LineCreationSequenceNumber="seq",
        ProductNumber="item",
        ProductName="title",
        ProductDescription="title",
        InvoicedQuantity="quantity",
        SalesUnitSymbol="symbol",
        SalesPrice="price",
        CurrencyCode="currency",
        LineTotalDiscountAmount="discount",
        LineTotalTaxAmount="tax",
        LineTotalChargeAmount=pl.col("charge") * 0,
        LineAmount="net",
    )
    return {
        "ExternallyMaintainedCustomerSalesInvoiceHeaders": as_fno(head),
        "ExternallyMaintainedCustomerSalesInvoiceLines": as_fno(line),
    }
