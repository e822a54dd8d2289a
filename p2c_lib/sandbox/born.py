"""Rows that belong to one system alone: P2C must neither send nor touch them."""

from __future__ import annotations

import polars as pl

from p2c_lib.sandbox import people
from p2c_lib.sandbox.draw import Draw
from p2c_lib.sandbox.facts import accounts, products
from p2c_lib.sandbox.traits import address, as_fno

__all__ = ["fno_born", "sales_born"]


def fno_born(draw: Draw, n: int) -> dict[str, pl.DataFrame]:
    """What F&O has of its own and P2C must leave alone: customers and contacts of usmf, customers and products of demf.

    Args:
        draw: Stream to draw from.
        n: About how many customers of each company.

    Returns:
        Rows of ``CustomersV2``, ``CDSContactPersons`` and ``SellableReleasedProducts``.
    """
    customers = []
    for company, group, site, warehouse, language in (
        ("usmf", "90", "2", "24", "en-us"),
        ("demf", "DE-10", "7", "71", "de"),
    ):
        rows, _ = accounts(draw, n)
        home = address(draw, n, "address1", 0)
        short = pl.int_range(1, n + 1, eager=True).cast(pl.String).str.zfill(3)
        code = company[:2].upper()
        customers.append(
            as_fno(
                pl.select(
                    dataAreaId=pl.lit(company),
                    CustomerAccount=pl.format(f"{code}-{{}}", short),
                    PartyNumber=pl.format(f"{code}0000{{}}", short),
                    PartyType=pl.when(draw.chance(n, 0.8)).then(pl.lit("Organization")).otherwise(pl.lit("Person")),
                    IsExternallyMaintained=pl.lit("No"),
                    OrganizationName=rows["name"],
                    CustomerGroupId=pl.lit(group),
                    SiteId=pl.lit(site),
                    WarehouseId=pl.lit(warehouse),
                    LanguageId=pl.lit(language),
                    SalesCurrencyCode=pl.lit("USD" if company == "usmf" else "EUR"),
                    CreditLimit=rows["creditlimit"],
                    SalesMemo=rows["description"],
                    AddressStreet=home["address1_line1"],
                    AddressCity=home["address1_city"],
                    AddressState=home["address1_stateorprovince"],
                    AddressZipCode=home["address1_postalcode"],
                    AddressCountryRegionISOCode=home["iso"],
                    AddressCountryRegionId=home["region_id"],
                )
            )
        )
    people_of = customers[0].select(
        "dataAreaId",
        ContactPersonPartyNumber=pl.concat_str(pl.lit("00"), pl.col("PartyNumber").str.slice(2)),
        AssociatedPartyNumber="PartyNumber",
        ContactPersonPartyType=pl.lit("Person"),
        IsContactPersonExternallyMaintained=pl.lit("No"),
        FirstName=draw.pick(people.FIRST_NAMES, n),
        LastName=draw.pick(people.LAST_NAMES, n),
        Gender=pl.lit("Unknown"),
        MaritalStatus=pl.lit("None"),
        IsReceivingDirectMail=pl.lit("No"),
        IsInactive=pl.lit("No"),
    )
    goods, _, _ = products(draw, n)
    goods = goods.with_columns(
        dataAreaId=pl.lit("demf"), CurrencyCode=pl.lit("EUR"), ProductNumber=pl.format("DE-{}", "ProductNumber")
    )
    return {"CustomersV2": pl.concat(customers), "CDSContactPersons": people_of, "SellableReleasedProducts": goods}


def sales_born(draw: Draw, n: int) -> pl.DataFrame:
    """Products entered in Sales itself; P2C must leave them alone, too.

    Args:
        draw: Stream to draw from.
        n: Rows.

    Returns:
        Rows of ``products``; the flag is false, or null where the product is older than the solution.
    """
    _, rows, _ = products(draw, n)
    return rows.with_columns(
        productnumber=pl.format("SVC-{}", pl.int_range(n, eager=True).cast(pl.String).str.zfill(4)),
        msdynce_ismaintainedexternally=pl.when(draw.chance(n, 0.5)).then(pl.lit(False)),
    )
