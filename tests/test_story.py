"""The whole story on an empty pair; then a field of each kind is broken on each side, found, explained, put right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pair import Pair

from p2c_lib import advance
from p2c_lib.model import Task, all_tasks, load_templates
from p2c_lib.sandbox import lifecycle
from p2c_lib.sandbox.days_clerks import Fno, Sales

D = Decimal
TEMPLATES = load_templates()
GERMANY = {"address1_line1": "Hauptstraße 1", "address1_city": "Köln", "address1_country": "Germany",
           "address1_postalcode": "50667", "address1_stateorprovince": "NW"}  # fmt: skip


def tasks_named(names: Sequence[str]) -> list[Task]:
    """These tasks in their order; all, when none is named."""
    return [task for task in all_tasks(TEMPLATES) if not names or task.name in names]


class Story:
    """An empty pair, somebody at each side, and our tasks between them."""

    def __init__(self, folder: Path) -> None:
        self.pair = Pair(folder, empty=True)
        self.sales, self.fno = Sales(self.pair.state), Fno(self.pair.state)
        self.opened = self.pair.clients()
        self.clients = self.opened.__enter__()
        self.runs = 0
        self.matched: dict[str, int] = {}
        self.numbers: dict[str, str] = {}

    def close(self) -> None:
        self.opened.__exit__(None, None, None)
        self.sales.http.close()
        self.fno.http.close()
        lifecycle.stop(self.pair.folder)

    def compare(self, *names: str) -> pl.DataFrame:
        """What a run of these tasks, by default of all, finds that keeps the systems from being in step."""
        self.runs += 1
        folder = self.pair.folder / "runs" / f"{self.runs:03d}"
        run = advance.compare(self.pair.profile(), folder, tasks_named(names), self.clients)
        assert len(run["tasks"]) == (len(names) or 12)
        self.matched = {task["task"]: task["matched"] for task in run["tasks"]}
        return pl.read_parquet(folder / "outcomes.parquet").filter(pl.col("outcome") != "excluded")

    def copy(self, *names: str) -> None:
        """Compare these tasks, by default all; plan, approve, send."""
        self.runs += 1
        folder = self.pair.folder / "runs" / f"{self.runs:03d}"
        done = advance.copy_over(self.pair.profile(), folder, tasks_named(names), TEMPLATES, self.clients)
        assert (done.failed, done.conflicts, done.remaining) == (0, 0, 0)

    def settle(self, *names: str, **matched: int) -> None:
        """Let the totals job run, copy these tasks over, by default all, let it run again; then all of both sides must
        agree, in these counts."""
        self.fno.totals()
        self.copy(*names)
        self.fno.totals()
        assert self.compare().rows(named=True) == []
        assert {task: self.matched[task] for task in matched} == matched


def forward(story: Story) -> None:
    """From two empty systems to an order that is invoiced in two parts, in step after every step."""
    sales, fno = story.sales, story.fno
    fno.product("D0001", ProductName="Speaker", SalesPrice=D("10.00"), UnitCost=D("4.20"))
    fno.product("D0002", ProductName="Cable", SalesPrice=D("2.35"), SalesUnitSymbol="kg", SalesUnitDecimalPrecision=3)
    story.settle(products=2)
    for number in ("D0001", "D0002"):
        sales.sell(number)

    alpine = sales.account(name="Alpine Ski", creditlimit=D("5000"), **GERMANY)
    ada = sales.contact(company=alpine, firstname="Ada", lastname="Byron", gendercode=2, **GERMANY)
    story.settle(accounts=1, contacts=1, contacts_to_customer=0)
    fno.tax_group(alpine, "EXEMPT")

    lines = [
        {"product": "D0001", "quantity": 3, "discount": D("10.00")},
        {"product": "D0002", "quantity": D("2.5")},
    ]
    quote = sales.quote(alpine, lines, name="First quote", shipto_country="Germany")
    story.settle(quote_headers=0)
    sales.activate_quote(quote)
    story.settle(quote_headers=1, quote_lines=2)

    sales.close_quote(quote, won=True)
    fno.close_quotation(quote, "Confirmed")
    order = sales.order_of_quote(quote)
    story.settle(quote_headers=0, order_headers_to_fno=0)
    sales.activate_order(order)
    story.settle(order_headers_to_fno=1, order_lines_to_fno=2)

    fno.do("confirm", order, charges=D("15.00"), discount=D("1.00"))
    story.settle(order_headers_to_fno=0, order_headers_to_sales=1, order_lines_to_sales=2, invoice_headers=0)
    for step, quantities, status, invoices in (
        ("ship", {"1": 1}, 647390008, 0),
        ("invoice", None, 647390009, 1),
        ("ship", None, 647390009, 1),
        ("invoice", None, 647390003, 2),
    ):
        fno.do(step, order, **({"lines": quantities} if quantities else {}))
        story.settle(invoice_headers=invoices, order_headers_to_sales=1)
        assert sales.row("salesorders", f"ordernumber eq '{order}'")["msdynce_processingstatus"] == status
    billed = sum(row["totalamount"] for row in sales.rows("invoices"))
    assert billed == sales.row("salesorders", f"ordernumber eq '{order}'")["totalamount"] == D("39.88")
    story.numbers |= {"account": alpine, "contact": ada, "done": order, "invoice": sales.rows("invoices")[0]["name"]}


def more(story: Story) -> None:
    """Documents at every stage: an active quote, a sent order, and a confirmed one with freight and tax."""
    sales, fno, known = story.sales, story.fno, story.numbers
    taxed = sales.account(name="Northwind", **GERMANY)
    lines = [{"product": "D0001", "quantity": 4, "discount": D("1.00")}, {"product": "D0002", "quantity": D("1.25")}]
    known["quote"] = sales.quote(known["account"], lines, name="Second quote")
    sales.activate_quote(known["quote"])
    known["sent"] = sales.order(known["account"], lines, name="Second order")
    sales.activate_order(known["sent"])
    story.settle(accounts=2, quote_headers=1, order_headers_to_fno=1)
    fno.tax_group(taxed, "FULL")
    known["taxed"] = sales.quote(taxed, lines, name="Third quote")
    sales.activate_quote(known["taxed"])
    story.settle(quote_headers=2, quote_lines=4)  # what F&O adds for tax is no difference: Sales has none yet
    site = {"DefaultShippingSiteId": "1", "DefaultShippingWarehouseId": "13"}
    known["back"] = fno.order(taxed, lines, CustomersOrderReference="PO 7", **site)
    fno.do("confirm", known["back"], charges=D("20.00"))
    story.settle(order_headers_to_sales=2, order_lines_to_sales=4)
    back = sales.row("salesorders", f"ordernumber eq '{known['back']}'")
    assert back["msdynce_misctax"] == D("3.80")  # 19 % of the freight, which is the Freight Tax line
    assert back["totalamount"] == D("73.71")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    made = Story(tmp_path_factory.mktemp("story"))
    try:
        forward(made)
        more(made)
        yield made
    finally:
        made.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_story_from_empty_to_invoiced_is_in_step_at_every_step(story: Story) -> None:
    assert story.matched == {
        "products": 2,
        "accounts": 2,
        "contacts": 1,
        "contacts_to_customer": 0,
        "quote_headers": 2,
        "quote_lines": 4,
        "order_headers_to_fno": 1,
        "order_lines_to_fno": 2,
        "order_headers_to_sales": 2,
        "order_lines_to_sales": 4,
        "invoice_headers": 2,
        "invoice_lines": 3,
    }


# --- one field of each kind, on each side -----------------------------------------------------------------------

Hand = Callable[[Story], None]


def put(system: str, entity: str, find: Mapping[str, str], **changes: Any) -> Hand:
    """Change rows by hand; values of ``find`` that name something of the story stand for its number."""

    def hand(story: Story) -> None:
        key = {name: story.numbers.get(value, value) for name, value in find.items()}
        clerk = story.sales if system == "sales" else story.fno
        clerk.put(entity, key, changes)

    return hand


@dataclass(frozen=True)
class Broken:
    """A thing that is broken by hand, what a run must say of it, and the hand's part in putting it right.

    Attributes:
        by: Breaks it.
        task: Finds it.
        field: Null for a whole row.
        outcome: Of the field or row.
        code: Of its reason.
        says: Words of the reason.
        remedy: Words of the remedy.
        hand: What the remedy asks of people; None: a plan is enough.
    """

    by: Hand
    task: str
    field: str | None
    outcome: str
    code: str
    says: str
    remedy: str = "plan and apply"
    hand: Hand | None = field(default=None)


def sales_line(document: str, sequence: int, **changes: Any) -> Hand:
    """Change a line of an order that came back, by hand."""
    return lambda story: story.sales.put(
        "salesorderdetails", {"msdynce_ordernumber": story.numbers[document], "sequencenumber": sequence}, changes
    )


def fno_line(entity: str, number: str, document: str, sequence: int, **changes: Any) -> Hand:
    """Change a line of a document of F&O by hand."""
    return lambda story: story.fno.put(
        entity, {number: story.numbers[document], "LineCreationSequenceNumber": sequence}, changes
    )


def delete(system: str, entity: str, number: str, document: str, sequence_column: str, sequence: int) -> Hand:
    """Delete a line by hand."""

    def hand(story: Story) -> None:
        clerk = story.sales if system == "sales" else story.fno
        key = {number: story.numbers[document], sequence_column: sequence}
        clerk.admin("rows", {"entity": entity, "key": key, "delete": True})

    return hand


def lookup(story: Story, entity: str, filter: str, column: str) -> str:
    return str(story.sales.row(entity, filter, column)[column])


def other_unit(story: Story) -> None:
    piece = lookup(story, "uoms", "name eq 'Piece'", "uomid")
    story.sales.put("products", {"productnumber": "D0001"}, {"_defaultuomid_value": piece})


def other_customer(story: Story) -> None:
    taxed = story.fno.row("CustomersV2", "OrganizationName eq 'Northwind'")["CustomerAccount"]
    key = {"SalesQuotationNumber": story.numbers["quote"]}
    story.fno.put("CDSSalesQuotationHeaders", key, {"RequestingCustomerAccountNumber": taxed})


def other_date(story: Story) -> None:
    """Of an invoice, in the key of its header and of its lines."""
    for part in ("Headers", "Lines"):
        entity, key = f"ExternallyMaintainedCustomerSalesInvoice{part}", {"InvoiceNumber": story.numbers["invoice"]}
        story.fno.put(entity, key, {"InvoiceDate": "2031-02-28T12:00:00Z"})


def orphan_line(story: Story) -> None:
    """A line too many, a copy of the first under the number 9."""
    said = f"SalesQuotationNumber eq '{story.numbers['quote']}' and LineCreationSequenceNumber eq 1"
    row = story.fno.row("CDSSalesQuotationLines", said)
    wanted = {name: value for name, value in row.items() if "@" not in name and value is not None}
    wanted |= {"LineCreationSequenceNumber": 9, "RequestedSalesQuantity": 77}
    story.fno.admin("rows", {"entity": "CDSSalesQuotationLines", "row": _plain(wanted)})


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, D) else value for name, value in row.items()}


def job(story: Story) -> None:
    story.fno.admin("totals", {"order": story.numbers["sent"]})


DIFFERENT = "stale, or edited"
QUOTATION_LINES = ("CDSSalesQuotationLines", "SalesQuotationNumber", "quote")
BROKEN = {
    "text in Sales": Broken(
        put("sales", "accounts", {"accountnumber": "account"}, name="Alpine Ski & Sons"),
        "accounts", "OrganizationName", "different", "different", DIFFERENT,
    ),
    "text in F&O": Broken(
        put("fno", "CustomersV2", {"CustomerAccount": "account"}, AddressStreet="Ring 7"),
        "accounts", "AddressStreet", "different", "different", DIFFERENT,
    ),
    "lookup in Sales": Broken(
        other_unit, "products", "defaultuomid.name", "different", "different", DIFFERENT,
    ),
    "lookup in F&O": Broken(
        other_customer, "quote_headers", "RequestingCustomerAccountNumber", "different", "different", DIFFERENT,
    ),
    "status behind in Sales": Broken(
        put("sales", "salesorders", {"ordernumber": "done"}, msdynce_processingstatus=647390008),
        "order_headers_to_sales", "msdynce_processingstatus", "different", "status_behind",
        "behind: the invoice at the source has not arrived",
    ),
    "status ahead in Sales": Broken(
        put("sales", "salesorders", {"ordernumber": "back"}, msdynce_processingstatus=647390007),
        "order_headers_to_sales", "msdynce_processingstatus", "different", "status_ahead", "ahead",
    ),
    "choice in F&O": Broken(
        put("fno", "CDSContactPersons", {"ContactPersonPartyNumber": "contact"}, Gender="Male"),
        "contacts", "Gender", "different", "different", DIFFERENT,
    ),
    "money in Sales": Broken(
        sales_line("back", 1, priceperunit="10.01"),
        "order_lines_to_sales", "priceperunit", "rounding", "rounding", "rounding only", "update the destination",
    ),
    "money in F&O": Broken(
        put("fno", "CustomersV2", {"CustomerAccount": "account"}, CreditLimit="4999.50"),
        "accounts", "CreditLimit", "different", "different", DIFFERENT,
    ),
    "quantity in Sales": Broken(
        sales_line("back", 2, quantity="125"),
        "order_lines_to_sales", "quantity", "different", "different", DIFFERENT,
    ),
    "quantity in F&O": Broken(
        fno_line(*QUOTATION_LINES, 2, RequestedSalesQuantity="12.5"),
        "quote_lines", "RequestedSalesQuantity", "different", "different", DIFFERENT,
    ),
    "date in Sales": Broken(
        put("sales", "invoices", {"invoicenumber": "invoice"}, msdynce_invoicedate="2031-01-31"),
        "invoice_headers", "msdynce_invoicedate", "different", "different", DIFFERENT,
    ),
    "date in F&O": Broken(
        other_date,
        "invoice_headers", "msdynce_invoicedate", "different", "different", DIFFERENT,
    ),
    "boolean in Sales": Broken(
        sales_line("back", 1, ispriceoverridden=False),
        "order_lines_to_sales", "ispriceoverridden", "different", "different", DIFFERENT,
    ),
    "boolean in F&O": Broken(
        put("fno", "CDSContactPersons", {"ContactPersonPartyNumber": "contact"}, IsReceivingDirectMail="No"),
        "contacts", "IsReceivingDirectMail", "different", "different", DIFFERENT,
    ),
    "computed total in Sales": Broken(
        put("sales", "salesorders", {"ordernumber": "back"}, totalamount="1.00"),
        "order_headers_to_sales", "totalamount", "different", "computed", "works out itself", "recalculate",
    ),
    "computed total in F&O": Broken(
        put("fno", "CDSSalesOrderHeaders", {"SalesOrderNumber": "sent"}, OrderTotalAmount="1.00"),
        "order_headers_to_fno", "OrderTotalAmount", "different", "computed", "works out itself",
        "Calculate sales totals", job,
    ),
    "line lost in Sales": Broken(
        delete("sales", "invoicedetails", "msdynce_invoicenumber", "invoice", "sequencenumber", 1),
        "invoice_lines", None, "missing", "lost", "never arrived", "create it",
    ),
    "line lost in F&O": Broken(
        delete("fno", *QUOTATION_LINES, "LineCreationSequenceNumber", 2),
        "quote_lines", None, "missing", "lost", "never arrived", "create it",
    ),
    "line too many in F&O": Broken(
        orphan_line, "quote_lines", None, "extra", "orphan", "does not have at the source", "delete the line by hand",
        delete("fno", *QUOTATION_LINES, "LineCreationSequenceNumber", 9),
    ),
    "line renumbered in Sales": Broken(
        sales_line("back", 2, sequencenumber=5),
        "order_lines_to_sales", None, "missing", "renumbered", "under another number", "delete it under the old one",
        delete("sales", "salesorderdetails", "msdynce_ordernumber", "back", "sequencenumber", 5),
    ),
    "key-like number in Sales": Broken(
        put("sales", "accounts", {"accountnumber": "account"}, accountnumber="ACC-99999-ZZZZZZ"),
        "accounts", None, "missing", "missing", "never arrived", "create it",
        lambda story: story.sales.put(
            "accounts", {"accountnumber": "ACC-99999-ZZZZZZ"}, {"accountnumber": story.numbers["account"]}
        ),
    ),
    "key-like number in F&O": Broken(
        put("fno", "CDSContactPersons", {"ContactPersonPartyNumber": "contact"}, ContactPersonPartyNumber="CON-1"),
        "contacts", None, "extra", "extra", "only at the destination", "delete by hand",
        lambda story: story.fno.admin(
            "rows", {"entity": "CDSContactPersons", "key": {"ContactPersonPartyNumber": "CON-1"}, "delete": True}
        ),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_by_hand_is_found_explained_and_put_right(story: Story, what: str) -> None:
    broken = BROKEN[what]
    broken.by(story)
    found = story.compare(broken.task)
    seen = [
        row
        for row in found.rows(named=True)
        if (row["task"], row["field"], row["outcome"]) == (broken.task, broken.field, broken.outcome)
    ]
    assert len(seen) == 1, found.rows(named=True)
    assert (seen[0]["code"], broken.says in seen[0]["reason"], broken.remedy in seen[0]["remedy"]) == (
        broken.code, True, True,
    ), seen[0]  # fmt: skip
    assert found.filter(pl.col("reason").is_null() | pl.col("remedy").is_null()).rows() == []
    if broken.hand is not None:
        broken.hand(story)
    kind = broken.task.partition("_")[0]  # headers and lines of a document go together
    story.settle(*(task.name for task in all_tasks(TEMPLATES) if task.name.partition("_")[0] == kind))
