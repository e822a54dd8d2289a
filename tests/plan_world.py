"""A small world to plan from: products from F&O to Sales, accounts and their contacts from Sales to F&O."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from fake_service import FakeClient, metadata_of

from p2c_lib import run as runs
from p2c_lib.model import find_task, load_templates

TEMPLATES = load_templates()
GROUP, OTHER_GROUP = "00000000-0000-0000-0001-000000000001", "00000000-0000-0000-0001-000000000002"
EACH, OTHER_EACH = "00000000-0000-0000-0002-000000000001", "00000000-0000-0000-0002-000000000002"
BOX = "00000000-0000-0000-0002-000000000003"
USD = "00000000-0000-0000-0003-000000000001"
FLAGS = {"OrderingCustomerIsExternallyMaintained": "Yes", "InvoiceCustomerIsExternallyMaintained": "Yes"}


class World:
    """Both services; `compare` writes a run's folder."""

    def __init__(self, **metadata: Any) -> None:
        self.sales = FakeClient("sales", metadata=metadata_of("sales", **metadata))
        self.fno = FakeClient("fno", "usmf")
        self.clients: dict[str, Any] = {"sales": self.sales, "fno": self.fno}
        for id, name in ((GROUP, "Default Unit"), (OTHER_GROUP, "Time")):
            self.sales.add("uomschedules", uomscheduleid=id, name=name)
        for id, name, group in ((EACH, "Each", GROUP), (OTHER_EACH, "Each", OTHER_GROUP), (BOX, "Box", OTHER_GROUP)):
            self.sales.add("uoms", uomid=id, name=name, _uomscheduleid_value=group)
        self.sales.add("transactioncurrencies", transactioncurrencyid=USD, isocurrencycode="USD")

    def item(self, number: str, **values: Any) -> dict[str, Any]:
        """A released product of F&O."""
        given = {
            "dataAreaId": "usmf",
            "ProductNumber": number,
            "ProductName": f"Name of {number}",
            "CurrencyCode": "USD",
            "SalesUnitSymbol": "ea",
            "SalesPrice": Decimal("10.5"),
            "UnitCost": Decimal("7"),
            "IsStockedProduct": "Yes",
            "ProductType": "Item",
            "SalesUnitDecimalPrecision": 2,
        }
        return self.fno.add("SellableReleasedProducts", **{**given, **values})

    def product(self, number: str, **values: Any) -> dict[str, Any]:
        """The product of Sales that `item` should become."""
        given = {
            "productnumber": number,
            "name": f"Name of {number}",
            "_transactioncurrencyid_value": USD,
            "_defaultuomid_value": EACH,
            "_defaultuomscheduleid_value": GROUP,
            "price": Decimal("10.5"),
            "currentcost": Decimal("7"),
            "isstockitem": True,
            "producttypecode": 1,
            "msdynce_ismaintainedexternally": True,
            "quantitydecimal": 2,
        }
        return self.sales.add("products", **{**given, **values})

    def account(self, number: str, **values: Any) -> dict[str, Any]:
        given = {"accountnumber": number, "name": f"Firm {number}", "_transactioncurrencyid_value": USD}
        return self.sales.add(
            "accounts", **{**given, "creditlimit": Decimal("100"), "address1_country": "de", **values}
        )

    def customer(self, number: str, **values: Any) -> dict[str, Any]:
        """The customer of F&O that `account` should become."""
        name = f"Firm {number}"
        given = {
            "dataAreaId": "usmf",
            "CustomerAccount": number,
            "PartyNumber": number,
            "OrganizationName": name,
            "AddressDescription": name,
            "DeliveryAddressDescription": name,
            "CustomerGroupId": "10",
            "SiteId": "1",
            "WarehouseId": "13",
            "LanguageId": "en-us",
            "PartyType": "Organization",
            "AddressLocationRoles": "Business",
            "SalesCurrencyCode": "USD",
            "CreditLimit": Decimal("100"),
            "AddressCountryRegionISOCode": "DE",
            "DeliveryAddressCountryRegionISOCode": "USA",
            "IsExternallyMaintained": "Yes",
        }
        return self.fno.add("CustomersV2", **{**given, **values})

    def contact(self, number: str, account: dict[str, Any] | None, **values: Any) -> dict[str, Any]:
        given = {
            "msdynce_contactnumber": number,
            "firstname": "Ann",
            "lastname": number,
            "msdynce_isactivecustomer": False,
            "msdynce_iscompanyanaccount": account is not None,
            "_parentcustomerid_value": account and account["accountid"],
            "donotemail": False,
            "statecode": 0,
            "gendercode": 2,
            "familystatuscode": 1,
        }
        return self.sales.add("contacts", **{**given, **values})

    def compare(self, folder: Path, *tasks: str) -> Path:
        """Pull, map and compare; gives the run's folder."""
        for name in tasks:
            task = find_task(name, TEMPLATES)
            sides = runs.read_sides(task, self.clients)
            metadata = {system: client.metadata() for system, client in self.clients.items()}
            runs.save(folder, task, sides, runs.compare_sides(task, sides, metadata))
        head = {
            "run_id": "r1",
            "profile": "here",
            "company": "usmf",
            "sales_url": self.sales.root,
            "fno_url": self.fno.root,
        }
        (folder / "run.json").write_text(json.dumps(head))
        return folder


class Orders(World):
    """A world with a price list, one product in the first unit group, and orders of F&O."""

    def __init__(self) -> None:
        super().__init__()
        self.sales.add("pricelevels", name="CRM Service USA (sample)", _transactioncurrencyid_value=USD)
        self.product("P1")

    def order(self, number: str, customer: str, *products: str) -> None:
        self.fno.add(
            "CDSSalesOrderHeaders", dataAreaId="usmf", SalesOrderNumber=number, OrderingCustomerAccountNumber=customer,
            CurrencyCode="USD", SalesOrderProcessingStatus="Confirmed", AreTotalsUpdated="Yes", SalesOrderName="Chairs",
            OrderTotalAmount=Decimal("9.5"), OrderHeaderTaxAmount=Decimal("0.5"), OrderTotalTaxAmount=Decimal("1.5"),
            **FLAGS,
        )  # fmt: skip
        for place, product in enumerate(products):
            self.fno.add(
                "CDSSalesOrderLines", dataAreaId="usmf", SalesOrderNumber=number, LineCreationSequenceNumber=place + 1,
                ProductNumber=product, SalesUnitSymbol="ea", CurrencyCode="USD", OrderedSalesQuantity=Decimal(3),
                SalesPrice=Decimal(3), LineAmount=Decimal(8), TotalTaxAmount=Decimal(1), TotalDiscountAmount=Decimal(1),
                SalesOrderProcessingStatus="Confirmed", AreSalesOrderTotalsUpdated="Yes", **FLAGS,
            )  # fmt: skip
