"""Quotations, orders and invoices of the Finance and Operations service, driven over HTTP as the integration would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2c_lib.sandbox.fno_amounts import split_discount, tax_rate, whole_discount
from p2c_lib.sandbox.knobs import settings
from p2c_lib.sandbox.loading import replace
from p2c_lib.sandbox.orders_state import INVOICE, NONE, Progress, order_status, processing_status
from p2c_lib.sandbox.schema import load_schema
from p2c_lib.sandbox.serve import build_app
from p2c_lib.sandbox.store import Store
from serving import serve

HEADERS, LINES = "CDSSalesOrderHeaders", "CDSSalesOrderLines"
QUOTES, QUOTE_LINES = "CDSSalesQuotationHeaders", "CDSSalesQuotationLines"
INVOICES = "ExternallyMaintainedCustomerSalesInvoiceHeaders"
INVOICE_LINES = "ExternallyMaintainedCustomerSalesInvoiceLines"
SHIP_TO = {
    "DeliveryAddressStreet": "Way 1",
    "DeliveryAddressCity": "Bonn",
    "DeliveryAddressCountryRegionISOCode": "DE",
    "IsDeliveryAddressOrderSpecific": "Yes",
}


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, infer_schema_length=None)


def stock(store: Store) -> None:
    """Two companies, a German customer from Sales, one of F&O's own, and products."""
    store.load("LegalEntities", frame([{"LegalEntityId": "usmf"}, {"LegalEntityId": "demf"}]))
    rules = {"USD": "0.01", "EUR": "0.01", "JPY": "1", "KWD": "0.001"}
    store.load(
        "Currencies",
        frame([{"CurrencyCode": code, "GeneralRoundingRule": Decimal(rule)} for code, rule in rules.items()]),
    )
    store.load("UnitsOfMeasure", frame([{"UnitSymbol": "ea"}, {"UnitSymbol": "kg"}]))
    store.load("OperationalSitesV2", frame([{"dataAreaId": "usmf", "SiteId": site} for site in "12"]))
    houses = [("13", "1"), ("24", "2")]
    store.load(
        "Warehouses",
        frame([{"dataAreaId": "usmf", "WarehouseId": one, "OperationalSiteId": site} for one, site in houses]),
    )
    store.load("CustomerGroups", frame([{"dataAreaId": "usmf", "CustomerGroupId": "10"}]))
    base = {"dataAreaId": "usmf", "PartyType": "Organization", "SalesCurrencyCode": "USD", "CustomerGroupId": "10"}
    german = {"AddressStreet": "Ring 7", "AddressCity": "Köln", "AddressCountryRegionISOCode": "DE"}
    store.load(
        "CustomersV2",
        frame(
            [
                base
                | german
                | {"CustomerAccount": "ACC-1", "OrganizationName": "Ada's Mill", "IsExternallyMaintained": "Yes"}
                | {"SiteId": "1", "WarehouseId": "13"},
                base | {"CustomerAccount": "US-1", "OrganizationName": "Own", "IsExternallyMaintained": "No"},
                base | {"CustomerAccount": "DE-1", "OrganizationName": "Other", "dataAreaId": "demf"},
            ]
        ),
    )
    product = {"dataAreaId": "usmf", "SalesUnitSymbol": "ea", "CurrencyCode": "USD"}
    store.load(
        "SellableReleasedProducts",
        frame(
            [
                product | {"ProductNumber": "D1", "ProductName": "Speaker", "SalesPrice": Decimal("10.00")},
                product | {"ProductNumber": "D2", "ProductName": "Cable", "SalesPrice": Decimal("2.50")},
                product | {"ProductNumber": "OLD", "SalesPrice": Decimal("1"), "IsSalesStopped": "Yes"},
            ]
        ),
    )


class Fno:
    """A client of one service."""

    def __init__(self, url: str, store: Store) -> None:
        self.url, self.store = url, store
        self.http = httpx.Client(base_url=url, timeout=20, trust_env=False)

    def post(self, entity: str, **row: Any) -> dict[str, Any]:
        answer = self.http.post(f"/data/{entity}", json=row)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def refusal(self, entity: str, **row: Any) -> str:
        answer = self.http.post(f"/data/{entity}", json=row)
        assert answer.status_code == 400, answer.text
        return answer.json()["error"]["innererror"]["message"]

    def patch(self, path: str, status: int = 204, **changes: Any) -> httpx.Response:
        answer = self.http.patch(f"/data/{path}", json=changes)
        assert answer.status_code == status, answer.text
        return answer

    def rows(self, entity: str, text: str = "") -> list[dict[str, Any]]:
        answer = self.http.get(f"/data/{entity}", params={"$filter": text} if text else {})
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]

    def header(self, number: str = "ORD-1") -> dict[str, Any]:
        return self.rows(HEADERS, f"SalesOrderNumber eq '{number}'")[0]

    def lines(self, number: str = "ORD-1") -> list[dict[str, Any]]:
        return sorted(
            self.rows(LINES, f"SalesOrderNumber eq '{number}'"), key=lambda row: row["LineCreationSequenceNumber"]
        )

    def do(self, step: str, status: int = 200, **wish: Any) -> dict[str, Any]:
        answer = self.http.post("/sandbox/orders", json={"order": "ORD-1", "do": step, **wish})
        assert answer.status_code == status, answer.text
        return answer.json()

    def totals(self, status: int = 200, **wish: Any) -> dict[str, Any]:
        answer = self.http.post("/sandbox/totals", json=wish)
        assert answer.status_code == status, answer.text
        return answer.json()

    def order(self, number: str = "ORD-1", customer: str = "ACC-1", **more: Any) -> dict[str, Any]:
        """An order over 3 x 10.00 less 10.00 and 4 x 2.50."""
        header = self.post(HEADERS, SalesOrderNumber=number, OrderingCustomerAccountNumber=customer, **more)
        for sequence, product, quantity, discount in ((1, "D1", 3, 10), (2, "D2", 4, 0)):
            self.post(
                LINES,
                SalesOrderNumber=number,
                LineCreationSequenceNumber=sequence,
                ProductNumber=product,
                OrderedSalesQuantity=quantity,
                TotalDiscountAmount=discount,
            )
        return header


def line_path(sequence: int, number: str = "ORD-1") -> str:
    return f"{LINES}(dataAreaId='usmf',SalesOrderNumber='{number}',LineCreationSequenceNumber={sequence})"


def header_path(number: str = "ORD-1") -> str:
    return f"{HEADERS}(dataAreaId='usmf',SalesOrderNumber='{number}')"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    """Start services with settings of their own; all stop at the end of the test."""
    with ExitStack() as stack:

        def start(**knobs: Any) -> Fno:
            store = Store(tmp_path / f"fno{len(knobs)}.sqlite", load_schema("fno"))
            stock(store)
            client = Fno(stack.enter_context(serve(build_app("fno", store, settings(**knobs)))), store)
            stack.callback(store.close)
            stack.callback(client.http.close)
            return client

        yield start


@pytest.fixture
def fno(make: Any) -> Fno:
    return make()


# the discount rule ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("discount", "quantity", "per_unit", "charge"),
    [
        ("10.00", "3", "3.33", "-0.01"),
        ("20.00", "3", "6.67", "0.01"),
        ("10.00", "4", "2.50", "0.00"),
        ("10.00", "1.7", "5.88", "-0.004"),
        ("0.01", "2", "0.01", "0.01"),
        ("5.00", "0", "0", "-5.00"),
        ("-10.00", "3", "-3.33", "0.01"),
    ],
)
def test_a_discount_is_split_per_unit_with_the_rest_as_charge(
    discount: str, quantity: str, per_unit: str, charge: str
) -> None:
    split = split_discount(Decimal(discount), Decimal(quantity))
    assert (split.per_unit, split.charge) == (Decimal(per_unit), Decimal(charge))


@given(
    st.decimals(-(10**12), 10**12, places=4, allow_nan=False),
    st.decimals(-(10**9), 10**9, places=5, allow_nan=False),
)
def test_a_split_discount_comes_back_to_the_last_digit(discount: Decimal, quantity: Decimal) -> None:
    assert whole_discount(split_discount(discount, quantity), quantity) == discount


@pytest.mark.parametrize(
    ("region", "group", "rate"),
    [
        ("DEU", "", "0.19"),
        ("de", "", "0.19"),
        ("JA", "", "0.1"),
        ("USA", "", "0.08"),
        ("DEU", "exempt", "0"),
        ("XYZ", "", "0"),
        ("", "", "0"),
    ],
)
def test_taxes_go_by_country(region: str, group: str, rate: str) -> None:
    assert tax_rate(region, group) == Decimal(rate)


# writing ----------------------------------------------------------------------------------------------------------
def test_an_order_takes_its_number_from_sales_and_the_rest_from_its_customer(fno: Fno) -> None:
    row = fno.post(HEADERS, SalesOrderNumber="ORD-1", OrderingCustomerAccountNumber="ACC-1", OrderTotalAmount=17.25)
    shown = {
        "SalesOrderNumber": "ORD-1",
        "SalesOrderName": "Ada's Mill",
        "InvoiceCustomerAccountNumber": "ACC-1",
        "CurrencyCode": "USD",
        "DefaultShippingSiteId": "1",
        "DefaultShippingWarehouseId": "13",
        "SalesOrderStatus": "Backorder",
        "SalesOrderProcessingStatus": "Active",
        "SalesOrderOriginType": "SalesOrderIntegration",
        "AreTotalsUpdated": "No",
        "OrderTotalAmount": 17.25,
        "OrderingCustomerIsExternallyMaintained": "Yes",
        "InvoiceCustomerIsExternallyMaintained": "Yes",
        "InvoiceAddressStreet": "Ring 7",
        "InvoiceAddressCountryRegionISOCode": "DE",
        "InvoiceAddressCountryRegionId": "DEU",
        "DeliveryAddressCity": "Köln",
        "FormattedDelveryAddress": "Ring 7\nKöln\nDEU",
    }
    assert {name: row[name] for name in shown} == shown
    assert row["RequestedShippingDate"].endswith("T12:00:00Z") and row["RequestedShippingDate"] > "2020"


def test_a_blank_number_is_drawn_and_a_second_order_of_a_number_is_refused(fno: Fno) -> None:
    assert fno.post(HEADERS, OrderingCustomerAccountNumber="ACC-1")["SalesOrderNumber"] == "000001"
    again = fno.refusal(HEADERS, SalesOrderNumber="000001", OrderingCustomerAccountNumber="ACC-1")
    assert again.startswith("Write failed for table row of type 'SalesOrderHeaderCDSEntity'")
    assert "already exists" in again


def test_an_address_of_the_order_is_its_own_and_lines_inherit_it(fno: Fno) -> None:
    header = fno.post(HEADERS, SalesOrderNumber="ORD-1", OrderingCustomerAccountNumber="ACC-1", **SHIP_TO)
    assert (header["DeliveryAddressCity"], header["DeliveryAddressCountryRegionId"]) == ("Bonn", "DEU")
    assert header["DeliveryAddressZipCode"] == "" and header["InvoiceAddressCity"] == "Köln"
    line = fno.post(LINES, SalesOrderNumber="ORD-1", ProductNumber="D1")
    assert (line["DeliveryAddressStreet"], line["FormattedDeliveryAddress"]) == ("Way 1", "Way 1\nBonn\nDEU")
    own = fno.post(LINES, SalesOrderNumber="ORD-1", ProductNumber="D1", DeliveryAddressCity="Ulm")
    assert (own["DeliveryAddressStreet"], own["DeliveryAddressCity"]) == ("", "Ulm")
    fno.patch(header_path(), DeliveryAddressCountryRegionISOCode="JA")
    assert fno.header()["DeliveryAddressCountryRegionId"] == "JPN"


def test_an_order_specific_address_may_be_blank(fno: Fno) -> None:
    blank = {"DeliveryAddressCountryRegionISOCode": "US", "IsDeliveryAddressOrderSpecific": "Yes"}
    header = fno.post(HEADERS, SalesOrderNumber="ORD-1", OrderingCustomerAccountNumber="ACC-1", **blank)
    assert (header["DeliveryAddressCity"], header["DeliveryAddressCountryRegionISOCode"]) == ("", "US")


def test_a_line_fills_in_its_product_and_splits_its_discount(fno: Fno) -> None:
    fno.order()
    line = fno.lines()[0]
    shown = {
        "ProductName": "Speaker",
        "SalesUnitSymbol": "ea",
        "SalesPrice": 10.0,
        "SalesPriceQuantity": 1,
        "LineDiscountAmount": 3.33,
        "FixedPriceCharges": -0.01,
        "TotalDiscountAmount": 10,
        "LineAmount": 20.0,
        "CurrencyCode": "USD",
        "ShippingSiteId": "1",
        "ShippingWarehouseId": "13",
        "SalesOrderLineStatus": "Backorder",
        "SalesOrderProcessingStatus": "Active",
        "SalesOrderOriginType": "SalesOrderIntegration",
        "SalesOrderNumberHeader": "ORD-1",
        "OrderingCustomerIsExternallyMaintained": "Yes",
        "AreSalesOrderTotalsUpdated": "No",
        "TotalTaxAmount": 0,
    }
    assert {name: line[name] for name in shown} == shown


def test_a_line_without_number_follows_the_last_one(fno: Fno) -> None:
    fno.order()
    assert fno.post(LINES, SalesOrderNumber="ORD-1", ProductNumber="D1")["LineCreationSequenceNumber"] == 3


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"TotalDiscountAmount": 20}, (6.67, 0.01, 20, 10.0)),
        ({"OrderedSalesQuantity": 4}, (2.5, 0, 10, 30.0)),  # the line keeps its whole discount
        ({"SalesPrice": 9.99}, (3.33, -0.01, 10, 19.97)),
        ({"LineDiscountAmount": 3, "FixedPriceCharges": 0}, (3, 0, 9, 21.0)),
        ({"LineDiscountPercentage": 10}, (3.33, -0.01, 12.0, 18.0)),
        ({"LineDiscountPercentage": 10, "TotalDiscountAmount": 0}, (0, 0, 0, 30.0)),
        ({"SalesPriceQuantity": 10}, (3.33, -0.01, 10, -7.0)),
    ],
)
def test_amounts_of_a_line_follow_from_what_is_changed(
    fno: Fno, changes: dict[str, Any], shown: tuple[float, ...]
) -> None:
    fno.order()
    fno.patch(line_path(1), **changes)
    line = fno.lines()[0]
    columns = ("LineDiscountAmount", "FixedPriceCharges", "TotalDiscountAmount", "LineAmount")
    assert tuple(line[name] for name in columns) == shown


def test_a_line_has_an_address_of_its_own_that_leads_back_to_it(fno: Fno) -> None:
    fno.order()
    answer = fno.http.post(f"/data/{LINES}", json={"SalesOrderNumber": "ORD-1", "ProductNumber": "D1"})
    where = f"{fno.url}/data/{LINES}(dataAreaId='usmf',SalesOrderNumber='ORD-1',LineCreationSequenceNumber=3)"
    assert answer.headers["location"] == where
    assert fno.http.get(where).json()["LineCreationSequenceNumber"] == 3
    assert fno.http.get(where.replace("=3", "='3'")).status_code == 400


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"SalesOrderNumber": "ORD-9"}, "'ORD-9' in field 'Sales order' is not found in the related table 'Sales ord"),
        ({"ProductNumber": "D9"}, "'D9' in field 'Product number' is not found in the related table 'Released prod"),
        ({"ProductNumber": ""}, "'Product number' must be filled in"),
        ({"ProductNumber": "OLD"}, "Sales of item OLD are stopped"),
        ({"SalesUnitSymbol": "yd"}, "'yd' in field 'Unit'"),
        ({"ShippingSiteId": "9"}, "'9' in field 'Site'"),
        ({"ShippingWarehouseId": "9"}, "'9' in field 'Warehouse'"),
        ({"ShippingWarehouseId": "24"}, "Warehouse 24 does not belong to site 1"),
        ({"CurrencyCode": "EUR"}, "USD"),
        ({"LineAmount": 5}, "'LineAmount' cannot be set"),
        ({"SalesOrderLineStatus": "Invoiced"}, "'SalesOrderLineStatus' cannot be set"),
        ({"dataAreaId": "demf"}, "'ORD-1' in field 'Sales order'"),
    ],
)
def test_a_line_needs_header_product_unit_site_and_warehouse(fno: Fno, row: dict[str, Any], words: str) -> None:
    fno.post(HEADERS, SalesOrderNumber="ORD-1", OrderingCustomerAccountNumber="ACC-1")
    assert words in fno.refusal(LINES, **{"SalesOrderNumber": "ORD-1", "ProductNumber": "D1"} | row)
    assert fno.rows(LINES) == []


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "'Customer account' must be filled in"),
        ({"OrderingCustomerAccountNumber": "ACC-9"}, "'ACC-9' in field 'Customer account' is not found"),
        ({"OrderingCustomerAccountNumber": "DE-1"}, "'DE-1' in field 'Customer account' is not found"),
        ({"OrderingCustomerAccountNumber": "ACC-1", "InvoiceCustomerAccountNumber": "X"}, "'Invoice account'"),
        ({"OrderingCustomerAccountNumber": "ACC-1", "CurrencyCode": "XXX"}, "'XXX' in field 'Currency'"),
        ({"OrderingCustomerAccountNumber": "ACC-1", "DefaultShippingSiteId": "9"}, "'9' in field 'Site'"),
        ({"OrderingCustomerAccountNumber": "ACC-1", "AreTotalsUpdated": "Yes"}, "cannot be set"),
        ({"OrderingCustomerAccountNumber": "ACC-1", "SalesOrderProcessingStatus": "Invoiced"}, "cannot be set"),
    ],
)
def test_an_order_needs_a_customer_of_its_company(fno: Fno, row: dict[str, Any], words: str) -> None:
    assert words in fno.refusal(HEADERS, SalesOrderNumber="ORD-1", **row)


def test_the_product_gives_a_site_where_the_customer_has_none(fno: Fno) -> None:
    fno.order(customer="US-1")
    line = fno.lines()[0]
    assert (line["ShippingSiteId"], line["ShippingWarehouseId"]) == ("1", "13")
    store, sites = fno.store, fno.store.tables["OperationalSitesV2"]
    with store.transaction() as t:
        t.connection.execute(sites.delete())
    assert "Site must be specified" in fno.refusal(LINES, SalesOrderNumber="ORD-1", ProductNumber="D1")


def test_computed_columns_do_not_take_edits(fno: Fno) -> None:
    fno.order()
    for path, column in ((header_path(), "OrderTotalTaxAmount"), (line_path(1), "TotalTaxAmount")):
        answer = fno.patch(path, 400, **{column: 7})
        assert f"'{column}' does not allow edits" in answer.json()["error"]["innererror"]["message"]


def test_deleting_an_order_deletes_its_lines_and_a_customer_with_orders_stays(fno: Fno) -> None:
    fno.order()
    fno.order("ORD-2")
    gone = fno.http.delete("/data/CustomersV2(dataAreaId='usmf',CustomerAccount='ACC-1')")
    assert gone.status_code == 400 and "dependent CDS sales order headers" in gone.text
    assert fno.http.delete(f"/data/{header_path()}").status_code == 204
    assert {row["SalesOrderNumber"] for row in fno.rows(LINES)} == {"ORD-2"}


def test_a_customer_that_changes_its_origin_takes_its_orders_along(fno: Fno) -> None:
    fno.order()
    before = fno.header()["@odata.etag"]
    fno.patch("CustomersV2(dataAreaId='usmf',CustomerAccount='ACC-1')", IsExternallyMaintained="No")
    header = fno.header()
    assert header["OrderingCustomerIsExternallyMaintained"] == header["InvoiceCustomerIsExternallyMaintained"] == "No"
    assert {row["OrderingCustomerIsExternallyMaintained"] for row in fno.lines()} == {"No"}
    assert header["@odata.etag"] == before


def test_another_payer_decides_one_of_the_two_flags(fno: Fno) -> None:
    header = fno.order(InvoiceCustomerAccountNumber="US-1")
    assert header["OrderingCustomerIsExternallyMaintained"] == "Yes"
    assert header["InvoiceCustomerIsExternallyMaintained"] == "No"
    fno.patch(header_path(), InvoiceCustomerAccountNumber="ACC-1")
    assert fno.header()["InvoiceCustomerIsExternallyMaintained"] == "Yes"


def test_a_quotation_is_written_like_an_order(fno: Fno) -> None:
    row = fno.post(QUOTES, SalesQuotationNumber="QUO-1", RequestingCustomerAccountNumber="ACC-1", **SHIP_TO)
    assert (row["SalesQuotationStatus"], row["AreTotalsCalculated"]) == ("Created", "No")
    assert row["SalesQuotationHeaderCreationMethod"] == "Dynamics365Sales"
    base = {"SalesQuotationNumber": "QUO-1", "ProductNumber": "D1", "RequestedSalesQuantity": 3}
    line = fno.post(QUOTE_LINES, LineCreationSequenceNumber=7, TotalDiscountAmount=10, **base)
    assert (line["LineDiscountAmount"], line["FixedPriceCharges"], line["LineAmount"]) == (3.33, -0.01, 20)
    assert line["SalesQuotationLineCreationMethod"] == "Dynamics365Sales"
    assert fno.post(QUOTE_LINES, **base)["LineCreationSequenceNumber"] == 8
    assert "field 'Quotation'" in fno.refusal(QUOTE_LINES, **{**base, "SalesQuotationNumber": "QUO-2"})
    assert fno.totals(quotations=True) == {"orders": 0, "quotations": 1}
    row = fno.rows(QUOTES)[0]
    assert (row["QuotationTotalAmount"], row["AreTotalsCalculated"]) == (59.5, "Yes")
    where = f"/data/{QUOTES}(dataAreaId='usmf',SalesQuotationNumber='QUO-1')"
    assert fno.http.delete(where).status_code == 204 and fno.rows(QUOTE_LINES) == []


# totals -----------------------------------------------------------------------------------------------------------
def test_totals_wait_for_the_batch_job_and_each_change_puts_them_out_of_date(fno: Fno) -> None:
    fno.order()
    assert (fno.header()["OrderTotalAmount"], fno.header()["AreTotalsUpdated"]) == (0, "No")
    assert fno.totals() == {"orders": 1, "quotations": 0}
    header, lines = fno.header(), fno.lines()
    # 20.00 and 10.00, 19 per cent tax
    assert (header["OrderTotalAmount"], header["OrderTotalTaxAmount"], header["AreTotalsUpdated"]) == (35.7, 5.7, "Yes")
    assert [row["TotalTaxAmount"] for row in lines] == [3.8, 1.9]
    assert (
        {row["AreSalesOrderTotalsUpdated"] for row in lines} == {row["AreTotalsCalculated"] for row in lines} == {"Yes"}
    )
    assert fno.totals() == {"orders": 0, "quotations": 0}
    etags = [header["@odata.etag"], lines[1]["@odata.etag"]]
    fno.patch(line_path(1), OrderedSalesQuantity=6)
    header, lines = fno.header(), fno.lines()
    assert (header["OrderTotalAmount"], header["AreTotalsUpdated"]) == (35.7, "No")
    assert {row["AreSalesOrderTotalsUpdated"] for row in lines} == {"No"}
    # what was not written itself can still be written with the etag that was seen
    assert etags == [header["@odata.etag"], lines[1]["@odata.etag"]]
    fno.totals()
    assert fno.header()["OrderTotalAmount"] == 71.4


def test_charges_of_the_header_are_taxed_and_its_discount_is_taken_off(fno: Fno) -> None:
    fno.order()
    fno.do("confirm", charges="10.00", discount="1.50")
    fno.totals(order="ord-1")
    header = fno.header()
    shown = ("OrderTotalChargesAmount", "OrderHeaderTaxAmount", "OrderTotalTaxAmount", "TotalDiscountAmount")
    assert [header[name] for name in shown] == [10, 1.9, 7.6, 1.5]
    assert header["OrderTotalAmount"] == 46.1  # 30.00 - 1.50 + 10.00 + 7.60


@pytest.mark.parametrize(
    ("currency", "discount", "amounts", "taxes", "total"),
    [
        # 1.7 x 10.00 less the discount; 19 per cent of it, of the other line (10.00) and of the charge (7)
        pytest.param("USD", 5.55, (11.45, 10.0), (2.18, 1.9), 33.86, id="two places"),
        pytest.param("KWD", 5.555, (11.445, 10.0), (2.175, 1.9), 33.85, id="three places"),
        pytest.param("JPY", 5, (12, 10), (2, 2), 34, id="none"),
    ],
)
def test_amounts_are_rounded_by_the_rule_of_their_currency(
    fno: Fno, currency: str, discount: float, amounts: Any, taxes: Any, total: float
) -> None:
    fno.order(CurrencyCode=currency)
    fno.patch(line_path(1), OrderedSalesQuantity=1.7, TotalDiscountAmount=discount)
    fno.do("confirm", charges="7")
    fno.totals()
    lines, header = fno.lines(), fno.header()
    assert tuple(line["LineAmount"] for line in lines) == amounts
    assert tuple(line["TotalTaxAmount"] for line in lines) == taxes
    assert (lines[0]["TotalDiscountAmount"], header["OrderTotalAmount"]) == (discount, total)
    assert lines[0]["LineDiscountAmount"] == round(discount / 1.7, 2), "a unit's discount has two places everywhere"
    fno.do("pick")
    fno.do("ship", lines={"1": 1})
    fno.do("invoice")
    fno.do("ship")
    fno.do("invoice")
    parts = fno.rows(INVOICE_LINES)
    places = {"USD": 2, "KWD": 3, "JPY": 0}[currency]
    shown = [row[name] for row in parts for name in ("LineAmount", "LineTotalTaxAmount", "LineTotalDiscountAmount")]
    shown += [row["TotalInvoiceAmount"] for row in fno.rows(INVOICES)]
    assert shown == [round(amount, places) for amount in shown]
    of_first = [row["LineTotalDiscountAmount"] for row in parts if row["LineCreationSequenceNumber"] == 1]
    assert len(of_first) == 2 and sum(map(Decimal, map(str, of_first))) == Decimal(str(discount))


@pytest.mark.parametrize("wish", [{"order": "ORD-9"}, {"nope": 1}, {"order": "ORD-1", "company": "demf"}])
def test_wrong_wishes_to_the_job_are_told(fno: Fno, wish: dict[str, Any]) -> None:
    fno.order()
    assert fno.totals(400, **wish)["error"]


# the life of an order ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "document", "shown"),
    [
        ("Backorder", NONE, "Active"),
        ("Backorder", 1, "Confirmed"),
        ("Backorder", 2, "Picked"),
        ("Backorder", 3, "PartiallyDelivered"),
        ("Backorder", INVOICE, "PartiallyInvoiced"),
        ("Delivered", 3, "Delivered"),
        ("Delivered", INVOICE, "DeliveredPartiallyInvoiced"),
        ("Invoiced", INVOICE, "Invoiced"),
        ("Canceled", 1, "Canceled"),
    ],
)
def test_processing_status_follows_from_status_and_latest_document(status: str, document: int, shown: str) -> None:
    assert processing_status(status, document) == shown


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Backorder", "Invoiced"], "Backorder"),
        (["Delivered", "Invoiced", "Canceled"], "Delivered"),
        (["Invoiced", "Canceled"], "Invoiced"),
        (["Canceled", "Canceled"], "Canceled"),
    ],
)
def test_the_status_of_an_order_is_the_least_of_its_living_lines(lines: list[str], status: str) -> None:
    assert order_status(lines) == status


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=8), st.integers(1, 30))
def test_nothing_is_invoiced_that_is_not_delivered(steps: list[tuple[bool, int]], ordered: int) -> None:
    state = Progress(Decimal(ordered))
    for is_invoice, wish in steps:
        left = state.ordered - state.invoiced if is_invoice else state.open
        quantity = min(Decimal(wish), left)
        state = state.invoice(quantity) if is_invoice else state.deliver(quantity)
    assert Decimal(0) <= state.invoiced <= state.delivered <= state.ordered
    assert (state.status == "Invoiced") == (state.invoiced == state.ordered)


def test_an_order_goes_from_active_to_invoiced(fno: Fno) -> None:
    fno.order(CustomersOrderReference="Spring", RequestedShippingDate="2026-03-01")
    seen = [fno.header()["SalesOrderProcessingStatus"]]
    for step in ("confirm", "pick", "ship"):
        told = fno.do(step)
        assert told["processing_status"] == fno.header()["SalesOrderProcessingStatus"]
        seen.append(told["processing_status"])
        if step == "pick":
            assert [row["PickedQuantity"] for row in fno.lines()] == [3, 4]
    assert fno.header()["AreTotalsUpdated"] == "No"
    assert fno.header()["ConfirmedShippingDate"] == fno.lines()[0]["ConfirmedShippingDate"]
    told = fno.do("invoice", date="2026-03-09")
    assert [*seen, told["processing_status"]] == ["Active", "Confirmed", "Picked", "Delivered", "Invoiced"]
    assert told["lines"] == {"1": "Invoiced", "2": "Invoiced"}
    assert {row["SalesOrderProcessingStatus"] for row in fno.lines()} == {"Invoiced"}
    assert {row["PickedQuantity"] for row in fno.lines()} == {0}
    fno.totals()
    [invoice], lines = fno.rows(INVOICES), fno.rows(INVOICE_LINES)
    assert told["invoice"]["InvoiceNumber"] == invoice["InvoiceNumber"] == "CIV-000001"
    shown = {
        "InvoiceDate": "2026-03-09T12:00:00Z",
        "LedgerVoucher": "ARI00000001",
        "SalesOrderNumber": "ORD-1",
        "SalesOrderOriginType": "SalesOrderIntegration",
        "CustomersOrderReference": "Spring",
        "InvoiceCustomerAccountNumber": "ACC-1",
        "InvoiceAddressCity": "Köln",
        "TotalTaxAmount": 5.7,
        "TotalInvoiceAmount": fno.header()["OrderTotalAmount"],
    }
    assert {name: invoice[name] for name in shown} == shown
    assert [row["LineTotalDiscountAmount"] for row in lines] == [10, 0]
    assert [row["LineAmount"] + row["LineTotalTaxAmount"] for row in lines] == [23.8, 11.9]


def test_a_part_is_shipped_and_the_latest_document_wins(fno: Fno) -> None:
    fno.order()
    fno.do("ship", lines={"1": 2})
    assert [row["SalesOrderLineStatus"] for row in fno.lines()] == ["Backorder", "Backorder"]
    assert fno.header()["SalesOrderProcessingStatus"] == "PartiallyDelivered"
    assert fno.do("confirm")["processing_status"] == "PartiallyDelivered"
    told = fno.do("invoice", lines={"1": 2})
    assert (told["processing_status"], told["status"]) == ("PartiallyInvoiced", "Backorder")
    assert fno.do("ship")["processing_status"] == "DeliveredPartiallyInvoiced"
    assert fno.do("invoice")["processing_status"] == "Invoiced"
    lines = fno.rows(INVOICE_LINES, "LineCreationSequenceNumber eq 1")
    assert [(row["InvoicedQuantity"], row["LineTotalDiscountAmount"]) for row in lines] == [(2, 6.67), (1, 3.33)]
    assert len({row["InvoiceNumber"] for row in lines}) == 2


def test_parts_of_an_invoice_add_up_to_the_order(fno: Fno) -> None:
    fno.order()
    fno.do("confirm", charges="9.99", discount="1.00")
    for quantities in ({"1": 1}, {"1": 1, "2": 3}, {"1": 1, "2": 1}):
        fno.do("invoice", lines=quantities)
    fno.totals()
    header, invoices = fno.header(), fno.rows(INVOICES)
    assert len(invoices) == 3
    for mine, theirs in (
        ("TotalDiscountAmount", "TotalDiscountAmount"),
        ("OrderTotalChargesAmount", "TotalChargeAmount"),
    ):
        assert round(sum(row[theirs] for row in invoices), 2) == header[mine]
    # taxes are rounded on each invoice
    assert abs(sum(row["TotalInvoiceAmount"] for row in invoices) - header["OrderTotalAmount"]) < 0.03


def test_what_is_not_delivered_can_be_cancelled(fno: Fno) -> None:
    fno.order()
    told = fno.do("cancel", lines={"2": 4})
    assert (told["lines"], told["processing_status"]) == ({"1": "Backorder", "2": "Canceled"}, "Active")
    fno.do("ship", lines={"1": 1})
    told = fno.do("cancel")
    assert (told["lines"]["1"], told["processing_status"]) == ("Delivered", "Delivered")
    assert fno.do("invoice")["status"] == "Invoiced"
    fno.order("ORD-2")
    assert fno.do("cancel", order="ORD-2")["processing_status"] == "Canceled"
    assert fno.do("confirm", 400, order="ORD-2")["error"] == "order ORD-2 is Canceled: nothing left to confirm"


def test_a_line_added_to_a_delivered_order_opens_it_again(fno: Fno) -> None:
    fno.order()
    fno.do("ship")
    fno.post(LINES, SalesOrderNumber="ORD-1", ProductNumber="D2")
    assert (fno.header()["SalesOrderStatus"], fno.header()["SalesOrderProcessingStatus"]) == (
        "Backorder",
        "PartiallyDelivered",
    )
    assert fno.http.delete(f"/data/{line_path(3)}").status_code == 204
    assert fno.header()["SalesOrderProcessingStatus"] == "Delivered"


def test_delivered_lines_and_invoiced_orders_are_closed_to_changes(fno: Fno) -> None:
    fno.order()
    fno.do("ship", lines={"1": 3})
    answer = fno.patch(line_path(1), 400, OrderedSalesQuantity=5)
    assert "Line 1 of sales order ORD-1 is Delivered" in answer.text
    fno.patch(line_path(2), OrderedSalesQuantity=5)
    assert "has postings" in fno.http.delete(f"/data/{header_path()}").text
    fno.do("invoice")  # what is delivered
    fno.do("invoice")  # and the rest
    assert "Sales order ORD-1 is Invoiced" in fno.patch(header_path(), 400, CustomersOrderReference="x").text
    assert "is Invoiced" in fno.refusal(LINES, SalesOrderNumber="ORD-1", ProductNumber="D1")


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"do": "bill"}, "known: confirm, pick, ship, invoice, cancel"),
        ({"do": "ship", "order": "ORD-9"}, "no order 'ORD-9' in usmf"),
        ({"do": "ship", "company": "demf"}, "in demf"),
        ({"do": "ship", "lines": {"9": 1}}, "no line '9'; there are 1, 2"),
        ({"do": "ship", "lines": {"1": 4}}, "line 1: 4 to ship, but 3 left"),
        ({"do": "invoice", "lines": {"1": 4}}, "line 1: 4 to invoice, but 3 left"),
        ({"do": "pick", "lines": {"2": 0}}, "above zero"),
        ({"do": "pick", "lines": {"2": "NaN"}}, "not a number"),
        ({"do": "pick", "lines": {"2": "many"}}, "not a number"),
        ({"do": "confirm", "lines": {"2": 1}}, "whole order"),
        ({"do": "invoice", "date": "soon"}, "2026-01-31"),
        ({"do": "ship", "when": "now"}, "'when'"),
    ],
)
def test_impossible_steps_are_told_and_change_nothing(fno: Fno, wish: dict[str, Any], words: str) -> None:
    fno.order()
    answer = fno.http.post("/sandbox/orders", json={"order": "ORD-1", **wish})
    assert answer.status_code == 400 and words in answer.json()["error"]
    assert fno.header()["SalesOrderProcessingStatus"] == "Active" and fno.rows(INVOICES) == []


def test_an_order_without_lines_has_nothing_to_confirm(fno: Fno) -> None:
    fno.post(HEADERS, SalesOrderNumber="ORD-1", OrderingCustomerAccountNumber="ACC-1")
    assert "no lines" in fno.do("confirm", 400)["error"]


def test_a_loaded_order_goes_on_from_where_its_statuses_and_invoices_say(fno: Fno) -> None:
    fno.order()
    fno.order("ORD-2")
    for row in ({"SalesOrderLineStatus": "Delivered"}, {"SalesOrderProcessingStatus": "Delivered"}):
        wish = {"entity": LINES, "key": {"SalesOrderNumber": "ORD-1"}, "changes": row}
        assert fno.http.post("/sandbox/rows", json=wish).status_code == 200
    change = {"SalesOrderStatus": "Delivered", "SalesOrderProcessingStatus": "Delivered"}
    wish = {"entity": HEADERS, "key": {"SalesOrderNumber": "ORD-1"}, "changes": change}
    assert fno.http.post("/sandbox/rows", json=wish).status_code == 200
    assert "nothing left" in fno.do("ship", 400)["error"]
    assert fno.do("invoice", lines={"1": 3})["processing_status"] == "DeliveredPartiallyInvoiced"
    assert fno.do("invoice")["processing_status"] == "Invoiced"


# invoices ---------------------------------------------------------------------------------------------------------
def test_invoices_are_read_only_and_found_by_their_four_keys(fno: Fno) -> None:
    fno.order()
    fno.do("invoice", date="2026-03-09")
    key = "dataAreaId='usmf',InvoiceNumber='CIV-000001',InvoiceDate=2026-03-09T12:00:00Z,LedgerVoucher='ARI00000001'"
    one = fno.http.get(f"/data/{INVOICES}({key})")
    assert one.status_code == 200 and one.json()["SalesOrderNumber"] == "ORD-1"
    line = fno.http.get(f"/data/{INVOICE_LINES}({key},LineCreationSequenceNumber=2)")
    assert line.status_code == 200 and line.json()["ProductNumber"] == "D2"
    full = fno.http.get(f"/data/{INVOICES}", headers={"Accept": "application/json;odata.metadata=full"})
    assert full.json()["value"][0]["@odata.editLink"] == f"{INVOICES}({key})"
    for method in ("PATCH", "DELETE"):
        assert fno.http.request(method, f"/data/{INVOICES}({key})", json={}).status_code == 405
    assert fno.http.post(f"/data/{INVOICES}", json={}).status_code == 405


def test_only_invoices_of_externally_maintained_customers_are_there(fno: Fno) -> None:
    fno.order(InvoiceCustomerAccountNumber="US-1")
    fno.order("ORD-2")
    fno.do("invoice", date="2026-03-09")
    fno.do("invoice", order="ORD-2", date="2026-03-09")
    assert [row["SalesOrderNumber"] for row in fno.rows(INVOICES)] == ["ORD-2"]
    assert {row["InvoiceNumber"] for row in fno.rows(INVOICE_LINES)} == {"CIV-000002"}
    assert fno.http.get(f"/data/{INVOICE_LINES}/$count").text == "2"
    hidden = "dataAreaId='usmf',InvoiceNumber='CIV-000001',InvoiceDate=2026-03-09T12:00:00Z,LedgerVoucher='ARI00000001'"
    assert fno.http.get(f"/data/{INVOICES}({hidden})").status_code == 404
    fno.patch("CustomersV2(dataAreaId='usmf',CustomerAccount='ACC-1')", IsExternallyMaintained="No")
    assert fno.rows(INVOICES) == fno.rows(INVOICE_LINES) == []


def test_metadata_tells_keys_and_which_columns_are_computed(fno: Fno) -> None:
    one = fno.http.get("/metadata/PublicEntities('CDSSalesOrderLine')").json()
    edits = {prop["Name"]: prop["AllowEdit"] for prop in one["Properties"]}
    assert [prop["Name"] for prop in one["Properties"] if prop["IsKey"]] == [
        "dataAreaId",
        "SalesOrderNumber",
        "LineCreationSequenceNumber",
    ]
    assert edits["TotalDiscountAmount"] and not edits["LineAmount"] and not edits["LineCreationSequenceNumber"]
    assert fno.http.get(f"/metadata/PublicEntities('{INVOICES[:-1]}')").json()["IsReadOnly"] is True
    enum = fno.http.get("/metadata/PublicEnumerations('SalesOrderProcessingStatus')").json()["Members"]
    assert enum[-1] == {"Name": "DeliveredPartiallyInvoiced", "Value": 8}


def test_a_header_and_its_lines_go_together_in_one_change_set(fno: Fno) -> None:
    head = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: {}\r\n\r\n"
    head += "POST {} HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{}\r\n"
    bodies = [
        (HEADERS, '{"SalesOrderNumber":"ORD-1","OrderingCustomerAccountNumber":"ACC-1"}'),
        (LINES, '{"SalesOrderNumber":"ORD-1","LineCreationSequenceNumber":1,"ProductNumber":"D1"}'),
        (LINES, '{"SalesOrderNumber":"ORD-1","LineCreationSequenceNumber":2,"ProductNumber":"NONE"}'),
    ]

    def send(count: int) -> str:
        parts = "".join(f"--c\r\n{head.format(n, *body)}" for n, body in enumerate(bodies[:count]))
        content = f"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n{parts}--c--\r\n--b--\r\n"
        kind = {"Content-Type": "multipart/mixed; boundary=b"}
        return fno.http.post("/data/$batch", content=content.encode(), headers=kind).text

    assert "Released products" in send(3) and fno.rows(HEADERS) == []
    assert send(2).count("201 Created") == 2 and len(fno.lines()) == 1


def test_data_made_anew_forgets_what_was_shipped_before(fno: Fno, tmp_path: Path) -> None:
    def partly_shipped(store: Store) -> None:
        head = {"dataAreaId": "usmf", "SalesOrderNumber": "ORD-7", "OrderingCustomerAccountNumber": "ACC-1"}
        status = {"SalesOrderProcessingStatus": "PartiallyDelivered", "SalesOrderStatus": "Backorder"}
        line = {"LineCreationSequenceNumber": 1, "ProductNumber": "D1", "OrderedSalesQuantity": Decimal("3")}
        store.load(HEADERS, frame([head | status | {"InvoiceCustomerAccountNumber": "ACC-1"}]))
        store.load(LINES, frame([{name: head[name] for name in ("dataAreaId", "SalesOrderNumber")} | line]))

    fresh = Store(tmp_path / "fresh.sqlite", load_schema("fno"))
    for store in (fno.store, fresh):
        partly_shipped(store)
    fresh.close()
    fno.do("ship", order="ORD-7", lines={"1": 2})
    assert "but 1 left" in fno.do("ship", 400, order="ORD-7", lines={"1": 2})["error"]
    replace("fno", fno.store.path, fresh.path)
    assert fno.do("ship", order="ORD-7", lines={"1": 2})["lines"] == {"1": "Backorder"}
