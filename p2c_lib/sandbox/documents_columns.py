"""Columns that quotes, orders and invoices have in common, on either side."""

from __future__ import annotations

import polars as pl

from p2c_lib.sandbox.documents_parts import PRICE_LISTS
from p2c_lib.sandbox.draw import MONEY, Draw
from p2c_lib.sandbox.fno_amounts import REGIONS
from p2c_lib.sandbox.reference import guid
from p2c_lib.sandbox.traits import currency_ids

__all__ = ["delivery", "product", "sales_head", "sales_line", "tax_lines", "yes_no"]


def yes_no(flag: pl.Expr) -> pl.Expr:
    """F&O's form of a flag."""
    return pl.when(flag).then(pl.lit("Yes")).otherwise(pl.lit("No"))


def sales_head(heads: pl.DataFrame) -> pl.DataFrame:
    """What orders, quotes and invoices of Sales have in common: whose they are and in which currency."""
    lists = {code: guid("pricelist", name) for code, name in PRICE_LISTS.items()}
    account = pl.when(kind="account").then("id")
    return heads.select(
        _customerid_value="id",
        _customerid_type="kind",
        _accountid_value=account,
        _contactid_value=pl.when(kind="contact").then("id"),
        _transactioncurrencyid_value=currency_ids(heads["currency"]),
        _pricelevelid_value=heads["currency"].replace_strict(lists, return_dtype=pl.String),
        _ownerid_value="owner",
        _owningbusinessunit_value="_owningbusinessunit_value",
        createdon="createdon",
        modifiedon="modifiedon",
    )


def sales_line(lines: pl.DataFrame, title: str) -> pl.DataFrame:
    """What lines of orders, quotes and invoices of Sales have in common; `lines` as `pieces` gives them."""
    return lines.select(
        pl.coalesce("title", "written").alias(title),
        _productid_value="product",
        _uomid_value="uom",
        productname="title",
        productnumber="item",
        productdescription="written",
        isproductoverridden=pl.col("written").is_not_null(),
        sequencenumber="seq",
        lineitemnumber="seq",
        quantity="quantity",
        priceperunit="price",
        baseamount="base",
        manualdiscountamount="discount",
        _transactioncurrencyid_value=currency_ids(lines["currency"]),
        _ownerid_value="owner",
        _owningbusinessunit_value="_owningbusinessunit_value",
        createdon="createdon",
        modifiedon="modifiedon",
    )


def tax_lines(draw: Draw, heads: pl.DataFrame, table: str, number: str) -> pl.DataFrame:
    """The write-in lines Freight Tax of documents of Sales; ``head_tax`` is an amount, ``document`` the number."""
    amount = pl.col("head_tax")
    return heads.select(
        draw.guids(heads.height).alias(f"{table}detailid"),
        pl.lit("Freight Tax").alias(f"{table}detailname"),
        pl.col(f"{table}id").alias(f"_{table}id_value"),
        productdescription=pl.lit("Freight Tax"),
        isproductoverridden=True,
        ispriceoverridden=True,
        sequencenumber=pl.col("count").cast(pl.Int32) + 1,
        lineitemnumber=pl.col("count").cast(pl.Int32) + 1,
        quantity=pl.lit(1).cast(MONEY),
        priceperunit=amount,
        baseamount=amount,
        extendedamount=amount,
        msdynce_ismisctax=True,
        msdynce_ismaintainedexternally=True,
        _transactioncurrencyid_value=currency_ids(heads["currency"]),
        _ownerid_value="owner",
        _owningbusinessunit_value="_owningbusinessunit_value",
        createdon="createdon",
        modifiedon="modifiedon",
        document=number,
        state="statecode",
    )


def product() -> dict[str, pl.Expr]:
    """What lines of quotations and orders of F&O say about the product and its price."""
    return {
        "ProductNumber": pl.col("item"),
        "ProductName": pl.col("title"),
        "LineDescription": pl.col("title"),
        "SalesUnitSymbol": pl.col("symbol"),
        "SalesPrice": pl.col("price"),
        "SalesPriceQuantity": pl.lit(1).cast(MONEY),
        "LineDiscountAmount": pl.col("per_unit"),
        "FixedPriceCharges": pl.col("charge"),
        "TotalDiscountAmount": pl.col("discount"),
        "TotalTaxAmount": pl.col("tax"),
        "LineAmount": pl.col("net"),
        "CurrencyCode": pl.col("currency"),
    }


def delivery(sent: pl.Expr) -> dict[str, pl.Expr]:
    """Delivery address of F&O's orders; those that P2C made have an address of their own, named after the order."""
    return {
        "IsDeliveryAddressOrderSpecific": yes_no(sent),
        "DeliveryAddressName": pl.when(sent).then("reference"),
        "DeliveryAddressDescription": pl.when(sent).then("reference"),
        "DeliveryAddressStreet": pl.col("ship_line1"),
        "DeliveryAddressStreetNumber": pl.col("line2"),
        "DeliveryAddressCity": pl.col("ship_city"),
        "DeliveryAddressStateId": pl.col("ship_stateorprovince"),
        "DeliveryAddressZipCode": pl.col("ship_postalcode"),
        "DeliveryAddressCountryRegionISOCode": pl.col("ship_iso"),
        "DeliveryAddressCountryRegionId": pl.col("ship_iso").replace_strict(REGIONS, return_dtype=pl.String),
    }
