"""What a sandbox can be told at its start: the settings of both services, and the ways to set them up wrongly.

The settings are one plain dictionary (``DEFAULTS`` with changes), kept in ``sandbox.json`` and handed to both services.
``WRONG`` names what a badly prepared pair of systems looks like, so that a preflight check can be tried against each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from p2c_lib.errors import SandboxError

DOCUMENTED_LIMITS: dict[str, float] = {"requests": 6000, "execution_s": 1200, "concurrent": 52, "window_s": 300}

DEFAULTS: dict[str, Any] = {
    # Both services.
    "require_token": False,  # True: a request without a known, living token is 401
    "token_lifetime_s": 3600,
    "token": None,  # a token that is always accepted, for tools that cannot ask for one
    "limits": {"sales": None, "fno": None},  # None: no windows; "documented" for both, or sizes for each
    "denied": [],  # [{"system": "fno", "entity": "CustomersV2", "verb": "create|read|write|delete"}]
    "gzip": True,  # answers are compressed for clients that ask for it, as the real services do
    # Sales.
    "solution": True,  # False: no trace of the Prospect to cash solution, neither tables, columns, keys nor steps
    "account_key": False,  # True: the alternate key on accountnumber that solutions before 15.0.0.2 had
    "sales_page_rows": 5000,
    "dop_hint": 16,  # the parallelism that Sales advises with every answer
    # Finance and Operations.
    "company": "usmf",  # default company of the calling user
    "application_version": "10.0.40.10",
    "application_build": "10.34.2105.34092",
    "platform_version": "7.0.7120.45",
    "kbs": [],  # hotfixes by number; the releases that need none list none
    "page_rows": 10000,
    "next_link_host": None,  # "https://other.example": next links name that host instead of the one that was asked
    "package_start_s": 0.0,  # seconds until an imported data package begins to be written
    "package_row_s": 0.0,  # seconds that each of its rows takes, the work of the sandbox itself included
    "blob_lifetime_s": 3600.0,  # seconds that the address of a package is good for
    "write_failure_status": 400,  # 500: what older versions answered
}


@dataclass(frozen=True)
class Wrong:
    """One way to be badly prepared.

    Attributes:
        says: What is wrong, in words.
        config: Settings that differ from ``DEFAULTS``; lists are appended, everything else replaced.
        rows: Changes of stored rows: (system, entity, rows to find, changes; None deletes them).
    """

    says: str
    config: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[tuple[Literal["sales", "fno"], str, Mapping[str, Any], Mapping[str, Any] | None], ...] = ()


_SOLUTION = {"uniquename": "msdynce_ProspectToCashIntegration"}


def _denied(system: str, entity: str, verb: str) -> dict[str, Any]:
    return {"denied": [{"system": system, "entity": entity, "verb": verb}]}


WRONG: dict[str, Wrong] = {
    "solution_absent": Wrong(
        "the Prospect to cash solution is not installed in Sales",
        {"solution": False},
        (("sales", "solutions", _SOLUTION, None),),
    ),
    "solution_version": Wrong(
        "the solution is older than direct templates need",
        {"account_key": True},
        (("sales", "solutions", _SOLUTION, {"version": "1.13.0.0"}),),
    ),
    "account_key": Wrong("the unique index on the account number is still there", {"account_key": True}),
    "pricing_calculation": Wrong(
        "Sales does not calculate prices itself",
        rows=(("sales", "organizations", {}, {"oobpricecalculationenabled": False}),),
    ),
    "discount_method": Wrong(
        "Sales calculates discounts per unit, not per line",
        rows=(("sales", "organizations", {}, {"discountcalculationmethod": 1}),),
    ),
    "price_list": Wrong(
        "no price list is in euro although products are",
        rows=(("sales", "pricelevels", {"_transactioncurrencyid_value": "EUR"}, None),),
    ),
    "duplicate_account_numbers": Wrong("two accounts share one number"),
    "application_version": Wrong(
        "Finance and Operations is a July 2017 release without its hotfixes",
        {"application_version": "7.2.11792.56024", "application_build": "7.2.11792.56024"},
    ),
    "platform_version": Wrong("the platform is older than update 12", {"platform_version": "7.0.4641.16233"}),
    "customer_group": Wrong(
        "customer group 10 is missing",
        rows=(("fno", "CustomerGroups", {"dataAreaId": "usmf", "CustomerGroupId": "10"}, None),),
    ),
    "site": Wrong(
        "site 1 is missing", rows=(("fno", "OperationalSitesV2", {"dataAreaId": "usmf", "SiteId": "1"}, None),)
    ),
    "warehouse": Wrong(
        "warehouse 13 is missing", rows=(("fno", "Warehouses", {"dataAreaId": "usmf", "WarehouseId": "13"}, None),)
    ),
    "sales_read": Wrong("the user may not read accounts", _denied("sales", "accounts", "read")),
    "sales_create": Wrong("the user may not create products in Sales", _denied("sales", "products", "create")),
    "sales_write": Wrong("the user may not change products in Sales", _denied("sales", "products", "write")),
    "fno_read": Wrong(
        "the user may not read customers in Finance and Operations", _denied("fno", "CustomersV2", "read")
    ),
    "fno_create": Wrong(
        "the user may not create customers in Finance and Operations", _denied("fno", "CustomersV2", "create")
    ),
    "fno_write": Wrong(
        "the user may not change customers in Finance and Operations", _denied("fno", "CustomersV2", "write")
    ),
}


def settings(wrong: Sequence[str] = (), **changes: Any) -> dict[str, Any]:
    """Make the settings of a sandbox.

    Args:
        wrong: Names out of ``WRONG``.
        **changes: Keys of ``DEFAULTS`` with other values.

    Returns:
        A full dictionary, one value for each key of ``DEFAULTS``.

    Raises:
        SandboxError: A name that ``WRONG`` or ``DEFAULTS`` does not have.
    """
    problems = [f"wrong={name!r}: not a known way; known: {', '.join(WRONG)}" for name in wrong if name not in WRONG]
    problems += [
        f"{name}: not a setting of the sandbox; known: {', '.join(DEFAULTS)}"
        for name in changes
        if name not in DEFAULTS
    ]
    if problems:
        raise SandboxError("; ".join(problems))
    config = {**DEFAULTS, **changes}
    if config["limits"] == "documented":
        config["limits"] = {"sales": DOCUMENTED_LIMITS, "fno": DOCUMENTED_LIMITS}
    config["limits"] = {"sales": None, "fno": None, **(config["limits"] or {})}
    for name in wrong:
        for key, value in WRONG[name].config.items():
            config[key] = [*config[key], *value] if isinstance(value, list) else value
    return config


def is_denied(config: Mapping[str, Any], system: str, entity: str, verb: str) -> bool:
    """Tell whether the caller lacks a privilege.

    Args:
        config: Settings as ``settings`` makes them.
        system: ``"sales"`` or ``"fno"``.
        entity: Entity set name.
        verb: ``"create"``, ``"read"``, ``"write"`` or ``"delete"``.

    Returns:
        True when the settings take that privilege away.
    """
    return any(
        rule["system"] == system and rule["entity"].casefold() == entity.casefold() and rule["verb"] == verb
        for rule in config.get("denied", ())
    )
