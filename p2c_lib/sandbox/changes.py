"""Which fields drift changes for each task, and how: one edit is one column, of one side, made different in one way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import polars as pl

from p2c_lib.sandbox.draw import MONEY
from p2c_lib.sandbox.reference import UNITS, guid

__all__ = ["FIELDS", "Change", "Edit"]

OLD = pl.col("old")


@dataclass(frozen=True)
class Edit:
    """One column made different.

    Attributes:
        column: The column to edit.
        new: Its new value, an expression over ``old``.
        fields: Fields of the task that then differ (default: the column itself).
        where: Rows it works on, over the columns of the edited side (default: the column holds something).
        names: How values are shown in the truth, where they are guids.
    """

    column: str
    new: pl.Expr
    fields: tuple[str, ...] = ()
    where: pl.Expr | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The column is its own field unless said otherwise."""
        if not self.fields:
            object.__setattr__(self, "fields", (self.column,))


@dataclass(frozen=True)
class Change:
    """A kind of difference: its outcome, and the columns it is spread over."""

    outcome: str
    edits: tuple[Edit, ...]
    at_source: bool = False


def _other(first: str, second: str) -> pl.Expr:
    """`first`, or `second` where the value is `first` already."""
    return pl.when(OLD.str.to_lowercase() == first.lower()).then(pl.lit(second)).otherwise(pl.lit(first))


def _plus(amount: str) -> pl.Expr:
    return OLD + pl.lit(Decimal(amount), MONEY)


def _texts(columns: Mapping[str, tuple[str, str]]) -> tuple[Edit, ...]:
    return tuple(Edit(name, _other(*words)) for name, words in columns.items())


def _flips(columns: Sequence[str], to: str = "No") -> tuple[Edit, ...]:
    """Yes to No; `to` says which rows are taken."""
    back = "Yes" if to == "No" else "No"
    return tuple(Edit(name, pl.lit(to), where=pl.col(name) == back) for name in columns)


def _cents(columns: Sequence[str]) -> Change:
    """A cent more or less, by turns."""
    step = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit(Decimal("0.01"))).otherwise(pl.lit(Decimal("-0.01")))
    return Change("rounding", tuple(Edit(name, OLD + step.cast(MONEY), where=pl.col(name) > 1) for name in columns))


def _written(columns: Sequence[str]) -> Change:
    """The same text in other letters, or with blanks around it."""
    edits = []
    for name in columns:
        text = pl.col(name)
        upper = text.str.to_uppercase()
        short = (text.str.len_chars() > 0) & (text.str.len_chars() < 56)
        same = (upper != text) & (upper.str.to_lowercase() == text.str.to_lowercase())
        edits += [
            Edit(name, OLD.str.to_uppercase(), where=short & same),
            Edit(name, OLD + pl.lit(" "), where=short),
            Edit(name, pl.lit(" ") + OLD, where=short),
        ]
    return Change("representation", tuple(edits[0::3] + edits[1::3] + edits[2::3]))


def _cut(columns: Sequence[str]) -> Change:
    """A long text that lost its end; what is left has 20 characters and more."""
    left = (OLD.str.len_chars() * 2 / 3).cast(pl.UInt32).clip(24, None)
    new = OLD.str.slice(0, left).str.strip_chars_end()
    return Change("truncated", tuple(Edit(name, new, where=pl.col(name).str.len_chars() >= 36) for name in columns))


def _unknown(country: Mapping[str, str], currency: bool) -> Change:
    """Values that no value map knows."""
    edits = [
        Edit(name, _other(word, "Wakanda"), (to,)) for (name, to), word in zip(country.items(), LANDS, strict=False)
    ]
    if currency:
        edits.append(Edit(CURRENCY, pl.lit(guid("currency", "JPY")), ("SalesCurrencyCode",), names=CURRENCIES))
    return Change("unmapped", tuple(edits), at_source=True)


LANDS = ("Atlantis", "El Dorado")
CURRENCY = "_transactioncurrencyid_value"
CURRENCIES = {guid("currency", iso): iso for iso in ("USD", "EUR", "GBP", "JPY")}
UNIT_NAMES = {guid("uom", name): name for name in UNITS.values()}
GROUP_NAMES = {guid("unit", name): name for name in ("Default Unit", "Time")}

CITY, STREET, ZIP, STATE = (
    ("Springfield", "Shelbyville"),
    ("1 Old Mill Road", "2 Old Mill Road"),
    ("99999", "11111"),
    ("XX", "YY"),
)
MEMO = ("Changed by the credit desk.", "Changed by the collections desk.")
PHONE, MAIL, URL = (
    ("+1 555 0100", "+1 555 0101"),
    ("old@mail.example", "older@mail.example"),
    ("old.example", "older.example"),
)
NAME = ("Relecloud Ltd", "VanArsdel Ltd")
ISO = ("BR", "CN")
MONEY_CHANGED = Edit("CreditLimit", _plus("250.00"))

FIELDS: dict[str, tuple[Change, ...]] = {
    "products": (
        Change("different", _texts({"name": NAME, "description": MEMO})),
        Change(
            "different",
            (
                Edit("price", _plus("5.00")),
                Edit("quantitydecimal", OLD + 1),
                Edit("currentcost", _plus("1.25")),
            ),
        ),
        Change(
            "different",
            (
                Edit("producttypecode", pl.when(OLD == 1).then(3).otherwise(1)),
                Edit("isstockitem", ~OLD),
                Edit("msdynce_ismaintainedexternally", ~OLD),
            ),
        ),
        Change(
            "different",
            (
                Edit(
                    "_defaultuomid_value",
                    pl.when(OLD.is_in([guid("uom", "Box")]))
                    .then(pl.lit(guid("uom", "Each")))
                    .otherwise(pl.lit(guid("uom", "Box"))),
                    ("defaultuomid.name",),
                    names=UNIT_NAMES,
                ),
                Edit(
                    CURRENCY,
                    pl.lit(guid("currency", "EUR")),
                    ("transactioncurrencyid.isocurrencycode",),
                    names=CURRENCIES,
                ),
                Edit(
                    "_defaultuomscheduleid_value",
                    pl.lit(guid("unit", "Time")),
                    ("defaultuomscheduleid.name",),
                    names=GROUP_NAMES,
                ),
            ),
        ),
        Change(
            "different",
            (Edit("SalesPrice", _plus("5.00"), ("price",)), Edit("ProductName", _other(*NAME), ("name",))),
            at_source=True,
        ),
        _cents(("price", "currentcost")),
        _written(("name", "description")),
        _cut(("description", "name")),
        Change("unmapped", (Edit("SalesUnitSymbol", pl.lit("roll"), ("defaultuomid.name",)),), at_source=True),
    ),
    "accounts": (
        Change(
            "different",
            (
                *_texts(
                    {
                        "OrganizationName": NAME,
                        "AddressCity": CITY,
                        "AddressStreet": STREET,
                        "AddressZipCode": ZIP,
                        "AddressDescription": NAME,
                        "DeliveryAddressCity": CITY,
                        "DeliveryAddressStreet": STREET,
                        "DeliveryAddressZipCode": ZIP,
                        "DeliveryAddressDescription": NAME,
                        "DeliveryAddressState": STATE,
                        "SalesMemo": MEMO,
                        "PrimaryContactPhone": PHONE,
                        "PrimaryContactFax": PHONE,
                        "PrimaryContactEmail": MAIL,
                        "PrimaryContactURL": URL,
                    }
                ),
                Edit("AddressState", pl.lit(""), where=pl.col("AddressState") != ""),
                Edit("PartyNumber", pl.lit("P") + OLD),
            ),
        ),
        Change("different", (MONEY_CHANGED, Edit("OrganizationNumberOfEmployees", OLD + 7))),
        Change(
            "different",
            _texts(
                {
                    "CustomerGroupId": ("20", "80"),
                    "AddressCountryRegionISOCode": ISO,
                    "LanguageId": ("de", "fr"),
                    "SalesCurrencyCode": ("EUR", "GBP"),
                    "SiteId": ("2", "3"),
                    "WarehouseId": ("24", "25"),
                    "AddressLocationRoles": ("Delivery", "Invoice"),
                    "DeliveryAddressCountryRegionISOCode": ISO,
                }
            ),
        ),
        Change("different", _flips(("IsExternallyMaintained",))),
        Change(
            "different",
            (
                Edit("name", _other(*NAME), ("OrganizationName", "AddressDescription", "DeliveryAddressDescription")),
                Edit("telephone1", _other(*PHONE), ("PrimaryContactPhone",)),
            ),
            at_source=True,
        ),
        _cents(("CreditLimit",)),
        _written(("AddressCity", "AddressStreet", "OrganizationName", "PrimaryContactEmail")),
        _cut(("SalesMemo", "OrganizationName", "AddressStreet")),
        _unknown(
            {
                "address1_country": "AddressCountryRegionISOCode",
                "address2_country": "DeliveryAddressCountryRegionISOCode",
            },
            currency=False,
        ),
        _unknown({}, currency=True),
    ),
    "contacts": (
        Change(
            "different",
            _texts(
                {
                    "EmploymentProfession": ("Retired", "On leave"),
                    "LastName": ("Married-Name", "Maiden-Name"),
                    "FirstName": ("Alex", "Sam"),
                    "MiddleName": ("X.", "Y."),
                    "EmploymentDepartment": ("Sales", "Legal"),
                    "GovernmentIdentificationNumber": ("000000000", "111111111"),
                    "Notes": MEMO,
                    "PrimaryEmailAddress": MAIL,
                    "PrimaryPhoneNumber": PHONE,
                    "PrimaryURL": URL,
                    "PrimaryAddressCity": CITY,
                    "PrimaryAddressStreet": STREET,
                    "PrimaryAddressZipCode": ZIP,
                    "PrimaryAddressStateId": STATE,
                }
            ),
        ),
        Change(
            "different",
            _texts(
                {
                    "Gender": ("NonSpecific", "Unknown"),
                    "MaritalStatus": ("Widowhood", "Single"),
                    "PrimaryAddressCountryRegionISOCode": ISO,
                    "ContactPersonPartyType": ("Organization", "Team"),
                }
            ),
        ),
        Change(
            "different",
            _flips(("IsReceivingDirectMail",))
            + _flips(("IsInactive",), "Yes")
            + _flips(("IsContactPersonExternallyMaintained",)),
        ),
        Change(
            "different",
            (
                Edit("lastname", _other("Newly-Wed", "Just-Wed"), ("LastName",)),
                Edit("jobtitle", _other("Promoted", "Moved"), ("EmploymentProfession",)),
            ),
            at_source=True,
        ),
        _written(("FirstName", "LastName")),
        _cut(("Notes", "PrimaryAddressStreet", "EmploymentProfession")),
        _unknown({"address1_country": "PrimaryAddressCountryRegionISOCode"}, currency=False),
    ),
    "contacts_to_customer": (
        Change(
            "different",
            (
                *_texts(
                    {
                        "PersonFirstName": ("Alex", "Sam"),
                        "PersonLastName": ("Married-Name", "Maiden-Name"),
                        "PersonMiddleName": ("X.", "Y."),
                        "AddressCity": CITY,
                        "AddressStreet": STREET,
                        "AddressZipCode": ZIP,
                        "AddressState": STATE,
                        "AddressDescription": ("Home", "Holiday home"),
                        "SalesMemo": MEMO,
                        "PrimaryContactPhone": PHONE,
                        "PrimaryContactFax": PHONE,
                        "PrimaryContactEmail": MAIL,
                        "PrimaryContactURL": URL,
                    }
                ),
                Edit("PartyNumber", pl.lit("P") + OLD),
            ),
        ),
        Change("different", (MONEY_CHANGED,)),
        Change(
            "different",
            _texts(
                {
                    "CustomerGroupId": ("20", "80"),
                    "LanguageId": ("de", "fr"),
                    "SalesCurrencyCode": ("EUR", "GBP"),
                    "AddressCountryRegionISOCode": ISO,
                }
            ),
        ),
        Change("different", _flips(("IsExternallyMaintained",))),
        Change(
            "different",
            (
                Edit("lastname", _other("Newly-Wed", "Just-Wed"), ("PersonLastName", "AddressDescription")),
                Edit("emailaddress1", _other(*MAIL), ("PrimaryContactEmail",)),
            ),
            at_source=True,
        ),
        _cents(("CreditLimit",)),
        _written(("PersonFirstName", "AddressCity", "AddressStreet")),
        _cut(("SalesMemo", "AddressStreet")),
        _unknown({"address1_country": "AddressCountryRegionISOCode"}, currency=False),
        _unknown({}, currency=True),
    ),
}
