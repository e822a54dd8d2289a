"""People at both services: what they do in a day, each deed a call of the service's own API or of its clerks' routes.

Sales people work through the Dataverse Web API, those of Finance and Operations through OData, ``POST /sandbox/orders``
and ``POST /sandbox/totals``; what F&O's entities cannot do (releasing a product, closing a quotation) is a row changed
by the admin route.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from p2c_lib.errors import SandboxError

__all__ = ["ACTIVE", "Clerk", "Fno", "Line", "Sales"]

ACTIVE = 647390000
Line = Mapping[str, Any]
"""A line to write: ``product`` (its number), ``quantity``, and if wanted ``price`` and ``discount``."""
_PRICE_LISTS = {"USD": "CRM Service USA (sample)", "EUR": "Europe Retail", "GBP": "UK Retail"}


class Clerk:
    """Somebody at one service of a running sandbox."""

    api = ""

    def __init__(self, state: Mapping[str, Any], system: Literal["sales", "fno"]) -> None:
        """Go to work.

        Args:
            state: What ``sandbox.json`` holds.
            system: Where.
        """
        verify = ssl.create_default_context(cafile=state["ca_file"]) if "ca_file" in state else True
        self.system = system
        self.http = httpx.Client(
            base_url=state[f"{system}_url"],
            headers={"Authorization": f"Bearer {state['token']}"},
            timeout=120,
            trust_env=False,
            verify=verify,
        )

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Go home."""
        self.http.close()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Call the service.

        Args:
            method: GET, POST, PATCH or DELETE.
            path: Below the host.
            body: Sent as JSON; amounts as decimals.
            **headers: Of the request.

        Raises:
            SandboxError: It refused.
        """
        content = None if body is None else json.dumps(body, default=_number)
        answer = self.http.request(
            method, path, content=content, headers={"Content-Type": "application/json", **headers}
        )
        if answer.is_error:
            raise SandboxError(f"{self.system}: {method} {path}: {answer.status_code}: {answer.text[:500]}")
        return answer

    def rows(self, entity: str, filter: str = "", select: str = "") -> list[dict[str, Any]]:
        """All rows of a set that pass an OData filter, numbers as decimals."""
        query = {name: text for name, text in (("$filter", filter), ("$select", select)) if text}
        url: str | None = str(httpx.URL(f"{self.api}/{entity}", params=query))
        found: list[dict[str, Any]] = []
        while url:
            page = json.loads(self.ask("GET", url).content, parse_float=Decimal)
            found += page["value"]
            url = page.get("@odata.nextLink")
        return found

    def row(self, entity: str, filter: str, select: str = "") -> dict[str, Any]:
        """The one row that passes a filter.

        Raises:
            SandboxError: There is none, or there are several.
        """
        found = self.rows(entity, filter, select)
        if len(found) != 1:
            raise SandboxError(f"{self.system}: {len(found)} rows of {entity} with {filter}")
        return found[0]

    def admin(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Call one of the sandbox's own routes."""
        answer: dict[str, Any] = json.loads(self.ask("POST", f"/sandbox/{route}", body).content, parse_float=Decimal)
        return answer

    def put(self, entity: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """Change rows behind the API's back."""
        self.admin("rows", {"entity": entity, "key": dict(key), "changes": dict(changes)})


class Sales(Clerk):
    """Somebody at Sales."""

    api = "/api/data/v9.2"

    def __init__(self, state: Mapping[str, Any]) -> None:
        """Go to work; see `Clerk`."""
        super().__init__(state, "sales")

    def create(self, entity: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a row; what the service made of it."""
        answer = self.ask("POST", f"{self.api}/{entity}", body, Prefer="return=representation")
        row: dict[str, Any] = json.loads(answer.content, parse_float=Decimal)
        return row

    def change(self, entity: str, row_id: str, body: Mapping[str, Any]) -> None:
        """Change a row that is there."""
        self.ask("PATCH", f"{self.api}/{entity}({row_id})", body, **{"If-Match": "*"})

    def delete(self, entity: str, row_id: str) -> None:
        """Delete a row."""
        self.ask("DELETE", f"{self.api}/{entity}({row_id})")

    def lists(self, currency: str) -> dict[str, str]:
        """Currency and price list of a document, to be bound."""
        money = self.row("transactioncurrencies", f"isocurrencycode eq '{currency}'", "transactioncurrencyid")
        prices = self.row("pricelevels", f"name eq '{_PRICE_LISTS[currency]}'", "pricelevelid")
        return {
            "transactioncurrencyid@odata.bind": f"/transactioncurrencies({money['transactioncurrencyid']})",
            "pricelevelid@odata.bind": f"/pricelevels({prices['pricelevelid']})",
        }

    def sell(self, number: str) -> None:
        """Make a product that came from F&O active, so that it can be quoted."""
        product = self.row("products", f"productnumber eq '{number}'", "productid")
        self.change("products", product["productid"], {"statecode": 0, "statuscode": 1})

    def account(self, currency: str = "USD", **columns: Any) -> str:
        """A new account; its number."""
        money = self.lists(currency)["transactioncurrencyid@odata.bind"]
        row = self.create("accounts", {"transactioncurrencyid@odata.bind": money, **columns})
        return str(row["accountnumber"])

    def contact(self, company: str | None = None, currency: str = "USD", **columns: Any) -> str:
        """A new contact, of an account or of none; its number."""
        body = {"transactioncurrencyid@odata.bind": self.lists(currency)["transactioncurrencyid@odata.bind"], **columns}
        if company is not None:
            body["parentcustomerid_account@odata.bind"] = self.customer(company)[1]
        return str(self.create("contacts", body)["msdynce_contactnumber"])

    def customer(self, number: str) -> tuple[str, str]:
        """What binds a document to the account or contact of that number: kind and reference."""
        for kind, entity, column in (("account", "accounts", "accountnumber"),
                                     ("contact", "contacts", "msdynce_contactnumber")):  # fmt: skip
            found = self.rows(entity, f"{column} eq '{number}'", f"{kind}id")
            if found:
                return kind, f"/{entity}({found[0][f'{kind}id']})"
        raise SandboxError(f"sales: no account or contact {number}")

    def quote(self, customer: str, lines: Sequence[Line], currency: str = "USD", **columns: Any) -> str:
        """A new quote, a draft; its number."""
        return self._document("quotes", "quotedetails", "quoteid", "quotenumber", customer, lines, currency, columns)

    def order(self, customer: str, lines: Sequence[Line], currency: str = "USD", **columns: Any) -> str:
        """A new order, a draft; its number."""
        names = ("salesorders", "salesorderdetails", "salesorderid", "ordernumber")
        return self._document(*names, customer, lines, currency, columns)

    def _document(
        self,
        entity: str,
        details: str,
        parent: str,
        number: str,
        customer: str,
        lines: Sequence[Line],
        currency: str,
        columns: Mapping[str, Any],
    ) -> str:
        kind, reference = self.customer(customer)
        header = self.create(entity, {f"customerid_{kind}@odata.bind": reference, **self.lists(currency), **columns})
        for line in lines:
            self.line(details, f"{parent}@odata.bind", f"/{entity}({header[parent]})", line)
        return str(header[number])

    def line(self, details: str, nav: str, header: str, line: Line) -> None:
        """Add a line to a document; without a price it takes the price list's."""
        where = f"productnumber eq '{line['product']}'"
        product = self.row("products", where, "productid,_defaultuomid_value")
        body = {
            nav: header,
            "productid@odata.bind": f"/products({product['productid']})",
            "uomid@odata.bind": f"/uoms({product['_defaultuomid_value']})",
            "quantity": line["quantity"],
        }
        if line.get("discount"):
            body["manualdiscountamount"] = line["discount"]
        if line.get("price") is not None:
            body |= {"priceperunit": line["price"], "ispriceoverridden": True}
        self.create(details, body)

    def activate_quote(self, number: str) -> None:
        """Make a draft quote active."""
        quote = self.row("quotes", f"quotenumber eq '{number}' and statecode eq 0", "quoteid")
        self.change("quotes", quote["quoteid"], {"statecode": 1, "statuscode": 2})

    def close_quote(self, number: str, *, won: bool) -> None:
        """Win an active quote, or lose it."""
        quote = self.row("quotes", f"quotenumber eq '{number}' and statecode eq 1", "quoteid")
        action, status = ("WinQuote", 4) if won else ("CloseQuote", 5)
        close = {"subject": "done", "quoteid@odata.bind": f"/quotes({quote['quoteid']})"}
        self.ask("POST", f"{self.api}/{action}", {"Status": status, "QuoteClose": close})

    def order_of_quote(self, number: str) -> str:
        """Make an order of a won quote; its number."""
        quote = self.row("quotes", f"quotenumber eq '{number}' and statecode eq 2", "quoteid")
        wish = {"QuoteId": quote["quoteid"], "ColumnSet": {"AllColumns": True}}
        answer = self.ask("POST", f"{self.api}/ConvertQuoteToSalesOrder", wish)
        return str(json.loads(answer.content)["ordernumber"])

    def activate_order(self, number: str) -> None:
        """Release a draft order for F&O (the solution's Activate button)."""
        order = self.row("salesorders", f"ordernumber eq '{number}'", "salesorderid")
        self.change("salesorders", order["salesorderid"], {"msdynce_processingstatus": ACTIVE})


class Fno(Clerk):
    """Somebody at Finance and Operations."""

    api = "/data"

    def __init__(self, state: Mapping[str, Any], company: str = "usmf") -> None:
        """Go to work in a legal entity; see `Clerk`."""
        super().__init__(state, "fno")
        self.company = company

    def create(self, entity: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a row; what the service made of it."""
        answer = self.ask("POST", f"{self.api}/{entity}", {"dataAreaId": self.company, **body})
        row: dict[str, Any] = json.loads(answer.content, parse_float=Decimal)
        return row

    def change(self, entity: str, key: Mapping[str, Any], body: Mapping[str, Any]) -> None:
        """Change a row that is there."""
        whole = {"dataAreaId": self.company, **key}
        said = ",".join(
            f"{name}={value}" if isinstance(value, int) else f"{name}='{str(value).replace(chr(39), chr(39) * 2)}'"
            for name, value in whole.items()
        )
        self.ask("PATCH", f"{self.api}/{entity}({said})?cross-company=true", body)

    def product(self, number: str, **columns: Any) -> None:
        """Release a product for sale."""
        row = {
            "dataAreaId": self.company,
            "ProductNumber": number,
            "ProductName": number,
            "ProductType": "Item",
            "CurrencyCode": "USD",
            "SalesUnitSymbol": "ea",
            "InventoryUnitSymbol": "ea",
            "IsStockedProduct": "Yes",
            **columns,
        }
        self.admin("rows", {"entity": "SellableReleasedProducts", "row": row})

    def change_product(self, number: str, **columns: Any) -> None:
        """Change a released product."""
        self.put("SellableReleasedProducts", {"dataAreaId": self.company, "ProductNumber": number}, columns)

    def tax_group(self, customer: str, group: str) -> None:
        """Decide whether a customer pays tax: ``EXEMPT`` does not."""
        self.change("CustomersV2", {"CustomerAccount": customer}, {"SalesTaxGroup": group})

    def drop_contact(self, number: str) -> None:
        """Delete a contact person who comes over as a customer from now on; nothing where it never came over."""
        said = f"ContactPersonPartyNumber eq '{number}'"
        for row in self.rows("CDSContactPersons", said, "ContactPersonPartyNumber"):
            self.admin(
                "rows",
                {
                    "entity": "CDSContactPersons",
                    "key": {"ContactPersonPartyNumber": row["ContactPersonPartyNumber"]},
                    "delete": True,
                },
            )

    def close_quotation(self, number: str, status: str) -> None:
        """Confirm a quotation, or record it as lost."""
        key = {"dataAreaId": self.company, "SalesQuotationNumber": number}
        for entity in ("CDSSalesQuotationHeaders", "CDSSalesQuotationLines"):
            self.put(entity, key, {"SalesQuotationStatus": status})

    def order(self, customer: str, lines: Sequence[Line], **columns: Any) -> str:
        """A new order, entered here; its number."""
        row = {"OrderingCustomerAccountNumber": customer, "SalesOrderOriginType": "NotSpecified", **columns}
        number = str(self.create("CDSSalesOrderHeaders", row)["SalesOrderNumber"])
        for sequence, line in enumerate(lines, 1):
            body = {
                "SalesOrderNumber": number,
                "LineCreationSequenceNumber": sequence,
                "ProductNumber": line["product"],
                "OrderedSalesQuantity": line["quantity"],
                "TotalDiscountAmount": line.get("discount") or 0,
            }
            if line.get("price") is not None:
                body["SalesPrice"] = line["price"]
            self.create("CDSSalesOrderLines", body)
        return number

    def change_line(self, number: str, sequence: int, **columns: Any) -> None:
        """Change a line of an order."""
        key = {"SalesOrderNumber": number, "LineCreationSequenceNumber": sequence}
        self.change("CDSSalesOrderLines", key, columns)

    def do(self, step: str, number: str, **wish: Any) -> dict[str, Any]:
        """Take an order a step on: confirm, pick, ship, invoice, cancel (see ``sandbox.orders``)."""
        return self.admin("orders", {"order": number, "do": step, "company": self.company, **wish})

    def totals(self) -> None:
        """Run the batch job "Calculate sales totals", for quotations too."""
        self.admin("totals", {"quotations": True})


def _number(value: Any) -> float:
    """A decimal as JSON writes it; a float shows up to 15 digits as they are."""
    if not isinstance(value, Decimal) or len(value.as_tuple().digits) > 15:
        raise TypeError(f"{value!r} cannot be sent")
    return float(value)
