"""Which fields drift changes for each task, and how: one edit is one column, of one side, made different in one way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import polars as pl

from p2c_lib.sandbox.draw import MONEY
from p2c_lib.sandbox.reference import UNITS, guid

__all__ = [
    "FIELDS",
    "OLD",
    "Change",
    "Edit",
    "by_a_cent",
    "cut",
    "flips",
    "other",
    "plus",
    "texts",
    "written",
]

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


def other(first: str, second: str) -> pl.Expr:
    """The value `first`, or `second` where the value is `first` already."""
    return pl.when(OLD.str.to_lowercase() == first.lower()).then(pl.lit(second)).otherwise(pl.lit(first))


def plus(amount: str) -> pl.Expr:
    """The old amount and `amount` more."""
    return OLD + pl.lit(Decimal(amount), MONEY)


def texts(columns: Mapping[str, tuple[str, str]]) -> tuple[Edit, ...]:
    """Each column gets the first of its two words, or the second where it has the first."""
    return tuple(Edit(name, other(*words)) for name, words in columns.items())


def flips(columns: Sequence[str], to: str = "No") -> tuple[Edit, ...]:
    """Yes to No; `to` says which rows are taken."""
    back = "Yes" if to == "No" else "No"
    return tuple(Edit(name, pl.lit(to), where=pl.col(name) == back) for name in columns)


def by_a_cent(columns: Sequence[str]) -> Change:
    """A cent more or less, by turns."""
    step = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit(Decimal("0.01"))).otherwise(pl.lit(Decimal("-0.01")))
    return Change("rounding", tuple(Edit(name, OLD + step.cast(MONEY), where=pl.col(name) > 1) for name in columns))


def written(columns: Sequence[str]) -> Change:
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


def cut(columns: Sequence[str]) -> Change:
    """A long text that lost its end; what is left has 20 characters and more."""
    left = (OLD.str.len_chars() * 2 / 3).cast(pl.UInt32).clip(24, None)
    new = OLD.str.slice(0, left).str.strip_chars_end()
    return Change("truncated", tuple(Edit(name, new, where=pl.col(name).str.len_chars() >= 36) for name in columns))


def _unknown(country: Mapping[str, str], currency: bool) -> Change:
    """Values that no value map knows."""
    edits = [
        Edit(name, other(word, "Wakanda"), (to,)) for (name, to), word in zip(country.items(), LANDS, strict=False)
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
MONEY_CHANGED = Edit("CreditLimit", plus("250.00"))

FIELDS: dict[str, tuple[Change, ...]] = {
    "products": (
        Change("different", texts({"name": NAME, "description": MEMO})),
        Change(
            "different",
            (
                Edit("price", plus("5.00")),
                Edit("quantitydecimal", OLD + 1),
                Edit("currentcost", plus("1.25")),
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
            (Edit("SalesPrice", plus("5.00"), ("price",)), Edit("ProductName", other(*NAME), ("name",))),
            at_source=True,
        ),
        by_a_cent(("price", "currentcost")),
        written(("name", "description")),
        cut(("description", "name")),
        Change("unmapped", (Edit("SalesUnitSymbol", pl.lit("roll"), ("defaultuomid.name",)),), at_source=True),
    ),
    "accounts": (
        Change(
            "different",
            (
                *texts(
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
            texts(
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
        Change("different", flips(("IsExternallyMaintained",))),
        Change(
            "different",
            (
                Edit("name", other(*NAME), ("OrganizationName", "AddressDescription", "DeliveryAddressDescription")),
                Edit("telephone1", other(*PHONE), ("PrimaryContactPhone",)),
            ),
            at_source=True,
        ),
        by_a_cent(("CreditLimit",)),
        written(("AddressCity", "AddressStreet", "OrganizationName", "PrimaryContactEmail")),
        cut(("SalesMemo", "OrganizationName", "AddressStreet")),
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
            texts(
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
            texts(
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
            flips(("IsReceivingDirectMail",))
            + flips(("IsInactive",), "Yes")
            + flips(("IsContactPersonExternallyMaintained",)),
        ),
        Change(
            "different",
            (
                Edit("lastname", other("Newly-Wed", "Just-Wed"), ("LastName",)),
                Edit("jobtitle", other("Promoted", "Moved"), ("EmploymentProfession",)),
            ),
            at_source=True,
        ),
        written(("FirstName", "LastName")),
        cut(("Notes", "PrimaryAddressStreet", "EmploymentProfession")),
        _unknown({"address1_country": "PrimaryAddressCountryRegionISOCode"}, currency=False),
    ),
    "contacts_to_customer": (
        Change(
            "different",
            (
                *texts(
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
            texts(
                {
                    "CustomerGroupId": ("20", "80"),
                    "LanguageId": ("de", "fr"),
                    "SalesCurrencyCode": ("EUR", "GBP"),
                    "AddressCountryRegionISOCode": ISO,
                }
            ),
        ),
        Change("different", flips(("IsExternallyMaintained",))),
        Change(
            "different",
            (
                Edit("lastname", other("Newly-Wed", "Just-Wed"), ("PersonLastName", "AddressDescription")),
                Edit("emailaddress1", other(*MAIL), ("PrimaryContactEmail",)),
            ),
            at_source=True,
        ),
        by_a_cent(("CreditLimit",)),
        written(("PersonFirstName", "AddressCity", "AddressStreet")),
        cut(("SalesMemo", "AddressStreet")),
        _unknown({"address1_country": "AddressCountryRegionISOCode"}, currency=False),
        _unknown({}, currency=True),
    ),
}
