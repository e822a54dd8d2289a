"""Business facts, written down twice: as Sales holds them and as F&O holds them when both agree.

What F&O should hold is stated here on its own, not taken from the templates, so that it can judge them. F&O knows no
null: an absent text is "", an absent number 0.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from p2c_lib.sandbox import people
from p2c_lib.sandbox.draw import MONEY, Draw, money, plain_ascii
from p2c_lib.sandbox.reference import PRICE_LIST, UNIT_GROUP, UNITS, guid
from p2c_lib.sandbox.traits import (
    HUGE,
    REGION_COLUMNS,
    address,
    as_fno,
    company_names,
    credit_limits,
    currencies,
    currency_ids,
    life,
    numbers,
    phones,
    remarks,
    with_blanks,
)

__all__ = ["accounts", "contacts", "products"]


def accounts(draw: Draw, n: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Accounts of Sales and the organisation customers of usmf that they became.

    Args:
        draw: Stream to draw from.
        n: Rows.

    Returns:
        ``accounts`` and ``CustomersV2``, row i of one for row i of the other.
    """
    main = address(draw, n, "address1", 0.02)
    other = address(draw, n, "address2", 0.35)
    name = company_names(draw, main["region"])
    domain = pl.concat_str(plain_ascii(pl.col("name")).str.slice(0, 40), pl.lit(".example"))
    inactive = draw.chance(n, 0.06)
    currency = currencies(draw, n)
    sales = pl.select(
        accountid=draw.guids(n),
        accountnumber=numbers("ACC", draw, n),
        name=name,
        creditlimit=credit_limits(draw, n),
        description=remarks(draw, n),
        numberofemployees=with_blanks(pl.Series(draw.integers(n, 1, 12_000).astype(np.int32)), draw, 0.2),
        telephone1=with_blanks(phones(draw, main["region"]), draw, 0.1),
        fax=with_blanks(phones(draw, main["region"]), draw, 0.6),
        _transactioncurrencyid_value=currency_ids(currency),
        industrycode=pl.lit(pl.Series(draw.integers(n, 1, 33).astype(np.int32))),
        statecode=inactive.cast(pl.Int32),
        statuscode=inactive.cast(pl.Int32) + 1,
    ).hstack(life(draw, n))
    sales = sales.hstack(main.drop(REGION_COLUMNS)).hstack(other.drop(REGION_COLUMNS))
    mailbox = draw.pick(["info", "Office", "einkauf", "accounts.payable", "sales+dach"], n)
    sales = sales.with_columns(
        emailaddress1=pl.when(~draw.chance(n, 0.15)).then(pl.concat_str(mailbox, pl.lit("@"), domain)),
        websiteurl=pl.when(~draw.chance(n, 0.3)).then(pl.concat_str(pl.lit("https://www."), domain, pl.lit("/"))),
    )
    fno = sales.select(
        dataAreaId=pl.lit("usmf"),
        CustomerAccount="accountnumber",
        PartyNumber="accountnumber",
        PartyType=pl.lit("Organization"),
        IsExternallyMaintained=pl.lit("Yes"),
        OrganizationName="name",
        AddressDescription="name",
        DeliveryAddressDescription="name",
        CustomerGroupId=pl.lit("10"),
        SiteId=pl.lit("1"),
        WarehouseId=pl.lit("13"),
        LanguageId=pl.lit("en-us"),
        AddressLocationRoles=pl.lit("Business"),
        SalesCurrencyCode=currency,
        CreditLimit="creditlimit",
        OrganizationNumberOfEmployees="numberofemployees",
        SalesMemo="description",
        PrimaryContactEmail="emailaddress1",
        PrimaryContactPhone="telephone1",
        PrimaryContactFax="fax",
        PrimaryContactURL="websiteurl",
        AddressStreet="address1_line1",
        AddressCity="address1_city",
        AddressState="address1_stateorprovince",
        AddressZipCode="address1_postalcode",
        AddressCountryRegionISOCode=main["iso"],
        AddressCountryRegionId=main["region_id"],
        DeliveryAddressStreet="address2_line1",
        DeliveryAddressCity="address2_city",
        DeliveryAddressState="address2_stateorprovince",
        DeliveryAddressZipCode="address2_postalcode",
        DeliveryAddressCountryRegionISOCode=other["iso"],
        DeliveryAddressCountryRegionId=other["region_id"],
    )
    return sales, as_fno(fno)


def _parents(draw: Draw, active: pl.Series, routed: pl.Series, ids: pl.Series, companies: pl.DataFrame) -> pl.DataFrame:
    """Company of each contact: account number (null unless an account), guid and type.

    Contacts that go to F&O as contacts belong to an account; others to one, to another contact, or to nobody. Only the
    first part of the accounts have contacts, and only contacts of an account are companies of others.
    """
    n = active.len()
    parents = max(1, companies.height * 3 // 5)
    row = (
        pl.Series(draw.integers(n, 0, parents)) if companies.height else pl.repeat(None, n, dtype=pl.Int64, eager=True)
    )
    chance = pl.Series(draw.rng.random(n))
    to_account = (routed | (active & (chance < 0.6))) & pl.Series([companies.height > 0]).new_from_index(0, n)
    hosts = ids.filter(routed)
    hosts = hosts.head(max(1, hosts.len() // 2))
    host = (
        hosts.gather(draw.integers(n, 0, hosts.len()))
        if hosts.len()
        else pl.repeat(None, n, dtype=pl.String, eager=True)
    )
    to_contact = ~to_account & (chance < 0.75) & (chance > 0.3) & host.is_not_null()
    own, number = (companies[name].gather(row) for name in ("accountid", "accountnumber"))
    return pl.select(
        number=pl.when(to_account).then(number),
        id=pl.when(to_account).then(own).when(to_contact).then(host),
        type=pl.when(to_account).then(pl.lit("account")).when(to_contact).then(pl.lit("contact")),
    )


def contacts(draw: Draw, n: int, companies: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Contacts of Sales, and what became of them in usmf: a contact of a party, a person customer, or nothing.

    Args:
        draw: Stream to draw from.
        n: Rows.
        companies: Accounts; ``accountid`` and ``accountnumber`` are read.

    Returns:
        ``contacts``, ``CDSContactPersons`` and the person rows of ``CustomersV2``.
    """
    route = pl.Series(draw.rng.random(n))
    active, routed = (
        route < 0.35,
        (route >= 0.35) & (route < 0.8) & pl.Series([companies.height > 0]).new_from_index(0, n),
    )
    home = address(draw, n, "address1", 0.1)
    first = draw.pick(people.FIRST_NAMES, n)
    # F&O takes no person as a customer without a first name
    first = pl.select(pl.when(active).then(first).otherwise(with_blanks(first, draw, 0.03))).to_series()
    last = draw.pick(people.LAST_NAMES, n)
    double = pl.format("{}-{}", last, draw.pick(people.LAST_NAMES, n))
    last = pl.select(pl.when(draw.chance(n, 0.08)).then(double).otherwise(last)).to_series()
    ids, number = draw.guids(n), numbers("CON", draw, n)
    parent = _parents(draw, active, routed, ids, companies)
    gender, family = draw.pick([1, 2, None], n), draw.pick([1, 2, 3, 4, None], n)
    unused = pl.Series(draw.rng.random(n))
    nobody = ~(active | routed)
    inactive = draw.chance(n, 0.08)
    currency, no_mail = currencies(draw, n), draw.chance(n, 0.25)
    mail = pl.format("{}.{}@mail.example", plain_ascii(pl.lit(first.fill_null("x"))), plain_ascii(pl.lit(last)))
    sales = pl.select(
        contactid=ids,
        # a contact that is not sent may do without a number, or have a sloppy one
        msdynce_contactnumber=pl.when(nobody & (unused < 0.06))
        .then(None)
        .when(nobody & (unused < 0.12))
        .then(pl.format("{} ", number))
        .otherwise(number),
        firstname=first,
        middlename=with_blanks(draw.pick(people.MIDDLE_NAMES, n), draw, 0.7),
        lastname=last,
        fullname=pl.concat_str(first, last, separator=" ", ignore_nulls=True),
        jobtitle=with_blanks(draw.pick(people.JOB_TITLES, n), draw, 0.2),
        department=with_blanks(draw.pick(people.DEPARTMENTS, n), draw, 0.4),
        gendercode=gender.cast(pl.Int32),
        familystatuscode=family.cast(pl.Int32),
        governmentid=with_blanks(draw.digits(n, 9), draw, 0.8),
        donotemail=no_mail,
        emailaddress1=pl.when(~draw.chance(n, 0.1)).then(mail),
        telephone1=with_blanks(phones(draw, home["region"]), draw, 0.2),
        fax=with_blanks(phones(draw, home["region"]), draw, 0.8),
        websiteurl=with_blanks(
            draw.pick(["https://www.linkedin.example/in/me", "http://blog.example/~me?x=1&y=2"], n), draw, 0.8
        ),
        description=remarks(draw, n),
        creditlimit=credit_limits(draw, n),
        _transactioncurrencyid_value=currency_ids(currency),
        _parentcustomerid_value=parent["id"],
        _parentcustomerid_type=parent["type"],
        msdynce_isactivecustomer=active,
        msdynce_iscompanyanaccount=(parent["type"] == "account").fill_null(False),
        statecode=inactive.cast(pl.Int32),
        statuscode=inactive.cast(pl.Int32) + 1,
    )
    sales = sales.hstack(life(draw, n)).hstack(home.drop(REGION_COLUMNS))
    facts = sales.with_columns(
        company=parent["number"],
        currency=currency,
        iso=home["iso"],
        region_id=home["region_id"],
        gender=gender.replace_strict({1: "Male", 2: "Female"}, default="Unknown", return_dtype=pl.String),
        family=family.replace_strict(
            {1: "Single", 2: "Married", 3: "Divorced", 4: "Widowhood"}, default="None", return_dtype=pl.String
        ),
    )
    return sales, _fno_contacts(facts.filter(routed)), _fno_persons(facts.filter(active))


def _fno_contacts(facts: pl.DataFrame) -> pl.DataFrame:
    frame = facts.select(
        dataAreaId=pl.lit("usmf"),
        ContactPersonPartyNumber="msdynce_contactnumber",
        AssociatedPartyNumber="company",
        ContactPersonPartyType=pl.lit("Person"),
        IsContactPersonExternallyMaintained=pl.lit("Yes"),
        FirstName="firstname",
        MiddleName="middlename",
        LastName="lastname",
        EmploymentProfession="jobtitle",
        EmploymentDepartment="department",
        Gender="gender",
        MaritalStatus="family",
        GovernmentIdentificationNumber="governmentid",
        IsReceivingDirectMail=pl.when("donotemail").then(pl.lit("No")).otherwise(pl.lit("Yes")),
        IsInactive=pl.when(pl.col("statecode") == 1).then(pl.lit("Yes")).otherwise(pl.lit("No")),
        PrimaryEmailAddress="emailaddress1",
        PrimaryPhoneNumber="telephone1",
        PrimaryURL="websiteurl",
        Notes="description",
        PrimaryAddressStreet="address1_line1",
        PrimaryAddressCity="address1_city",
        PrimaryAddressStateId="address1_stateorprovince",
        PrimaryAddressZipCode="address1_postalcode",
        PrimaryAddressCountryRegionISOCode="iso",
        PrimaryAddressCountryRegionId="region_id",
    )
    return as_fno(frame)


def _fno_persons(facts: pl.DataFrame) -> pl.DataFrame:
    frame = facts.select(
        dataAreaId=pl.lit("usmf"),
        CustomerAccount="msdynce_contactnumber",
        PartyNumber="msdynce_contactnumber",
        PartyType=pl.lit("Person"),
        IsExternallyMaintained=pl.lit("Yes"),
        PersonFirstName="firstname",
        PersonMiddleName="middlename",
        PersonLastName="lastname",
        AddressDescription="fullname",
        CustomerGroupId=pl.lit("10"),
        LanguageId=pl.lit("en-us"),
        SalesCurrencyCode="currency",
        CreditLimit="creditlimit",
        SalesMemo="description",
        PrimaryContactEmail="emailaddress1",
        PrimaryContactPhone="telephone1",
        PrimaryContactFax="fax",
        PrimaryContactURL="websiteurl",
        AddressStreet="address1_line1",
        AddressCity="address1_city",
        AddressState="address1_stateorprovince",
        AddressZipCode="address1_postalcode",
        AddressCountryRegionISOCode="iso",
        AddressCountryRegionId="region_id",
    )
    return as_fno(frame)


def products(draw: Draw, n: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Sellable products of usmf, the Sales products they became, and their price list items.

    Args:
        draw: Stream to draw from.
        n: Rows.

    Returns:
        ``SellableReleasedProducts``, ``products`` and ``productpricelevels``, one row each for each product.
    """
    variant = pl.when(draw.chance(n, 0.25)).then(pl.lit("-") + draw.pick(["BLK-L", "WHT-S", "STEEL", "27"], n))
    number = pl.concat_str(
        pl.lit("P"), pl.int_range(n, eager=True).cast(pl.String).str.zfill(6), variant.otherwise(pl.lit(""))
    )
    adjective, noun, size = (
        draw.pick(words, n) for words in (people.PRODUCT_ADJECTIVES, people.PRODUCT_NOUNS, people.PRODUCT_SIZES)
    )
    service = draw.chance(n, 0.12)
    stocked = pl.select(~service & ~draw.chance(n, 0.08)).to_series()
    unit = draw.pick(list(UNITS), n, [0.5, 0.2, 0.08, 0.12, 0.1])
    huge = money(pl.Series([HUGE + 2]))[0]
    price = pl.select(
        pl.when(pl.int_range(n, eager=True) == 5)
        .then(pl.lit(huge, MONEY))
        .when(draw.chance(n, 0.02))
        .then(pl.lit(0, MONEY))
        .otherwise(draw.amounts(n, 0.4, 25_000, 0.9))
    ).to_series()
    cost = pl.select(pl.when(~draw.chance(n, 0.05)).then(draw.amounts(n, 0.2, 9_000, 0.95)).otherwise(0)).to_series()
    decimals = unit.replace_strict({"ea": 0, "pcs": 0, "lb": 2, "kg": 3, "box": 0}, return_dtype=pl.Int32)
    remark = remarks(draw, n, 0.3, people.PRODUCT_REMARKS)
    name = pl.select(pl.format("{} {} {}", adjective, noun, size)).to_series()
    yes_no = {True: "Yes", False: "No"}
    fno = pl.select(
        dataAreaId=pl.lit("usmf"),
        ProductNumber=number,
        ProductName=name,
        ProductDescription=remark,
        ProductType=pl.when(service).then(pl.lit("Service")).otherwise(pl.lit("Item")),
        FieldServiceProductType=pl.when(service)
        .then(pl.lit("Service"))
        .when(stocked)
        .then(pl.lit("Inventory"))
        .otherwise(pl.lit("NonInventory")),
        IsStockedProduct=stocked.replace_strict(yes_no, return_dtype=pl.String),
        IsSalesStopped=draw.chance(n, 0.02).replace_strict(yes_no, return_dtype=pl.String),
        CurrencyCode=pl.lit("USD"),
        SalesPrice=price,
        UnitCost=cost.cast(MONEY),
        SalesUnitSymbol=unit,
        SalesUnitDecimalPrecision=decimals,
        InventoryUnitSymbol=unit,
        InventoryUnitDecimalPrecision=decimals,
    )
    draft = draw.chance(n, 0.15)
    sales = fno.select(
        productid=draw.guids(n),
        productnumber="ProductNumber",
        name="ProductName",
        description="ProductDescription",
        price="SalesPrice",
        currentcost="UnitCost",
        _defaultuomid_value=unit.replace_strict({s: guid("uom", u) for s, u in UNITS.items()}, return_dtype=pl.String),
        _defaultuomscheduleid_value=pl.lit(guid("unit", UNIT_GROUP)),
        _transactioncurrencyid_value=pl.lit(guid("currency", "USD")),
        _pricelevelid_value=pl.lit(guid("pricelist", PRICE_LIST)),
        isstockitem=stocked,
        producttypecode=pl.when(service).then(3).otherwise(1).cast(pl.Int32),
        quantitydecimal=decimals,
        msdynce_ismaintainedexternally=pl.lit(True),
        productstructure=pl.lit(1, pl.Int32),
        statecode=draft.cast(pl.Int32) * 2,
        statuscode=1 - draft.cast(pl.Int32),
    ).hstack(life(draw, n).select("createdon", "modifiedon"))
    items = sales.select(
        productpricelevelid=draw.guids(n),
        _productid_value="productid",
        _pricelevelid_value="_pricelevelid_value",
        _uomid_value="_defaultuomid_value",
        _uomscheduleid_value="_defaultuomscheduleid_value",
        _transactioncurrencyid_value="_transactioncurrencyid_value",
        productnumber="productnumber",
        amount="price",
        pricingmethodcode=pl.lit(1, pl.Int32),
        quantitysellingcode=pl.lit(1, pl.Int32),
        createdon="createdon",
        modifiedon="modifiedon",
    )
    return as_fno(fno), sales, items
