"""The ways of tasks through the store, as the sandbox makes them: ends, keys, columns that carry one value, maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

__all__ = ["FNO_LINE", "MAPS", "NAMES", "OWN", "WAYS", "Way"]


@dataclass(frozen=True)
class Way:
    """One task through the store: its ends with their key columns, and chains of columns that carry one value."""

    source: tuple[str, str]
    source_key: tuple[str, ...]
    entity: str
    key: tuple[str, ...]
    destination: tuple[str, str]
    destination_key: tuple[str, ...]
    chains: tuple[tuple[str, str, str], ...]
    lines: tuple[str, str, str] | None = None  # of a header: their task, and what binds both at the destination
    flows: pl.Expr | None = None  # where the direct task leaves out more, being held up by what F&O has by now


FNO_LINE = "LineCreationSequenceNumber"
WAYS: Mapping[str, Way] = {
    "products": Way(
        ("fno", "SellableReleasedProducts"),
        ("ProductNumber",),
        "Product",
        ("ProductId",),
        ("sales", "products"),
        ("productnumber",),
        (("ProductDescription", "Description", "description"), ("SalesPrice", "SellingUnitPrice", "price")),
    ),
    "accounts": Way(
        ("sales", "accounts"),
        ("accountnumber",),
        "Account",
        ("AccountId",),
        ("fno", "CustomersV2"),
        ("CustomerAccount",),
        (
            ("address1_city", "MailingPostalAddress_City", "AddressCity"),
            ("creditlimit", "CreditLimitAmount", "CreditLimit"),
        ),
    ),
    "contacts": Way(
        ("sales", "contacts"),
        ("msdynce_contactnumber",),
        "Contact",
        ("ContactId",),
        ("fno", "CDSContactPersons"),
        ("ContactPersonPartyNumber",),
        (("jobtitle", "Profession", "EmploymentProfession"), ("department", "Department", "EmploymentDepartment")),
    ),
    "contacts_to_customer": Way(
        ("sales", "contacts"),
        ("msdynce_contactnumber",),
        "Account",
        ("AccountId",),
        ("fno", "CustomersV2"),
        ("CustomerAccount",),
        (
            ("address1_city", "MailingPostalAddress_City", "AddressCity"),
            ("creditlimit", "CreditLimitAmount", "CreditLimit"),
        ),
    ),
    "quote_headers": Way(
        ("sales", "quotes"),
        ("quotenumber",),
        "Quotation",
        ("QuotationId",),
        ("fno", "CDSSalesQuotationHeaders"),
        ("SalesQuotationNumber",),
        (("name", "Name", "SalesQuotationName"), ("shipto_city", "DeliveryAddress_City", "DeliveryAddressCity")),
        lines=("quote_lines", "SalesQuotationNumber", "SalesQuotationNumber"),
        flows=(pl.col("statecode") == 1) & pl.col("msdynce_hasexternallymaintainedproductsonly"),
    ),
    "quote_lines": Way(
        ("sales", "quotedetails"),
        ("quoteid.quotenumber", "sequencenumber"),
        "QuotationLine",
        ("Quotation_QuotationId", "Sequence"),
        ("fno", "CDSSalesQuotationLines"),
        ("SalesQuotationNumber", FNO_LINE),
        (("priceperunit", "UnitPrice", "SalesPrice"), ("quantity", "Quantity", "RequestedSalesQuantity")),
        flows=(pl.col("quotestatecode") == 1) & pl.col("msdynce_quotehasexternalmaintainedproductsonly"),
    ),
    "order_headers_to_sales": Way(
        ("fno", "CDSSalesOrderHeaders"),
        ("SalesOrderNumber",),
        "SalesOrder",
        ("SalesOrderId",),
        ("sales", "salesorders"),
        ("ordernumber",),
        (("SalesOrderName", "Name", "name"), ("DeliveryAddressCity", "DeliveryAddress_City", "shipto_city")),
        lines=("order_lines_to_sales", "salesorderid", "_salesorderid_value"),
    ),
    "order_lines_to_sales": Way(
        ("fno", "CDSSalesOrderLines"),
        ("SalesOrderNumber", FNO_LINE),
        "SalesOrderLine",
        ("SalesOrder_SalesOrderId", "Sequence"),
        ("sales", "salesorderdetails"),
        ("msdynce_ordernumber", "sequencenumber"),
        (
            ("DeliveryAddressCity", "DeliveryPostalAddress_City", "shipto_city"),
            ("SalesPrice", "UnitPrice", "priceperunit"),
        ),
    ),
    "invoice_headers": Way(
        ("fno", "ExternallyMaintainedCustomerSalesInvoiceHeaders"),
        ("InvoiceNumber",),
        "SalesInvoice",
        ("SalesInvoiceId",),
        ("sales", "invoices"),
        ("invoicenumber",),
        (
            ("InvoiceAddressCity", "BillingAddress_City", "billto_city"),
            ("InvoiceAddressZipCode", "BillingAddress_PostalCode", "billto_postalcode"),
        ),
        lines=("invoice_lines", "invoiceid", "_invoiceid_value"),
    ),
    "invoice_lines": Way(
        ("fno", "ExternallyMaintainedCustomerSalesInvoiceLines"),
        ("InvoiceNumber", FNO_LINE),
        "SalesInvoiceLine",
        ("SalesInvoice_SalesInvoiceId", "Sequence"),
        ("sales", "invoicedetails"),
        ("msdynce_invoicenumber", "sequencenumber"),
        (("ProductDescription", "Description", "description"), ("SalesPrice", "UnitPrice", "priceperunit")),
    ),
}

_COUNTRIES = {"US": ("us", "usa", "united states", "united states of america"), "DE": ("germany", "de", "deu")}
_COUNTRIES |= {"FR": ("france", "fr", "fra"), "GB": ("uk", "united kingdom", "gb"), "JA": ("ja", "jap", "japan")}
_COUNTRIES |= {"IN": ("india", "in", "ind"), "AU": ("au",), "CA": ("ca",)}
_STATUSES: tuple[str, ...] = (
    "Active",
    "Confirmed",
    "Picked",
    "PartiallyDelivered",
    "Delivered",
    "Invoiced",
    "PartiallyInvoiced",
)
_STATUSES += ("Canceled", "DeliveredPartiallyInvoiced")
MAPS: Mapping[str, Mapping[str, str]] = {
    "bool_inverted": {"true": "false", "false": "true"},
    "noyes_to_bool": {"yes": "true", "no": "false"},
    "currency_code": {"usd": "USD", "eur": "EUR", "gbp": "GBP"},
    "state_to_cds_status": {"0": "Active", "1": "Inactive"},
    "quote_state_to_cds": {"0": "Draft", "1": "Active", "2": "Won", "3": "Closed"},
    "product_type_fo_to_cds": {"item": "Item", "service": "Service"},
    "account_role": {"1": "DecisionMaker", "2": "Employee", "3": "Influencer"},
    "gender": {"1": "Male", "2": "Female", "": "Unknown"},
    "marital_status": {"1": "Single", "2": "Married", "3": "Divorced", "4": "Widowhood", "": "None"},
    "uom_fo_to_sales": {"ea": "Each", "pcs": "Piece", "lb": "Pound", "kg": "Kilogram", "box": "Box"},
    "uom_sales_to_cds": {"primary unit": "Each"}
    | {u.lower(): u for u in ("Each", "Pound", "Piece", "Kilogram", "Box")},
    "country_to_iso": {name: code for code, names in _COUNTRIES.items() for name in names},
    "country_region_id_to_iso": {
        **{"usa": "US", "deu": "DE", "fra": "FR", "gbr": "GB", "jpn": "JP", "ind": "IN", "aus": "AU", "can": "CA"}
    },
    "processing_status_to_cds": {name.lower(): name for name in _STATUSES},
}
# what the page does not print, and the templates decided
OWN = {"Source": "Dynamics 365 Sales", "Status": "Billed"}
NAMES = {
    "transactioncurrencyid": ("transactioncurrencies", "transactioncurrencyid", "isocurrencycode"),
    "uomid": ("uoms", "uomid", "name"),
    "productid": ("products", "productid", "productnumber"),
    "quoteid": ("quotes", "quoteid", "quotenumber"),
}
