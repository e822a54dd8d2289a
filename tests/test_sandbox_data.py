"""The sandbox's data against an oracle of its own: plain dicts, one row at a time, nothing of the library."""

from collections import Counter, defaultdict
from decimal import Decimal
from functools import cache

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from p2c_lib.errors import SandboxError
from p2c_lib.sandbox.data import SIZES, World, generate
from p2c_lib.sandbox.schema import load_schema

MONEY = pl.Decimal(38, 12)
COUNTRIES = {
    **dict.fromkeys(("us", "usa", "united states", "united states of america"), "US"),
    **dict.fromkeys(("germany", "de", "deu"), "DE"),
    **dict.fromkeys(("france", "fr", "fra"), "FR"),
    **dict.fromkeys(("uk", "united kingdom"), "GB"),
    **dict.fromkeys(("ja", "jap", "japan"), "JA"),
    **dict.fromkeys(("india", "in", "ind"), "IN"),
    "au": "AU",
    "ca": "CA",
}
UNITS = {"ea": "Each", "pcs": "Piece", "lb": "Pound", "kg": "Kilogram", "box": "Box"}
UNKNOWN = object()  # what a value map without an entry gives


def text(value):
    return value if value and value.strip() else None


def country(value):
    return COUNTRIES.get(value.strip().lower(), UNKNOWN) if text(value) else "USA"


def lookup(entries, default=UNKNOWN):
    return lambda value: entries.get(value, default)


def number(value):
    return value or 0


def always(constant):
    return lambda _: constant


CURRENCY = lookup({iso: iso for iso in ("USD", "EUR", "GBP")})
CUSTOMER = {  # destination: (source, rule)
    "CreditLimit": ("creditlimit", number),
    "CustomerGroupId": (None, always("10")),
    "PrimaryContactFax": ("fax", text),
    "SalesCurrencyCode": ("currency", CURRENCY),
    "AddressCity": ("address1_city", text),
    "AddressCountryRegionISOCode": ("address1_country", country),
    "SalesMemo": ("description", text),
    "PrimaryContactEmail": ("emailaddress1", text),
    "AddressStreet": ("address1_line1", text),
    "PrimaryContactPhone": ("telephone1", text),
    "AddressZipCode": ("address1_postalcode", text),
    "AddressState": ("address1_stateorprovince", text),
    "PrimaryContactURL": ("websiteurl", text),
    "LanguageId": (None, always("en-us")),
    "IsExternallyMaintained": (None, always("Yes")),
}
FIELDS = {
    "products": {
        "transactioncurrencyid.isocurrencycode": ("CurrencyCode", text),
        "description": ("ProductDescription", text),
        "name": ("ProductName", text),
        "defaultuomid.name": ("SalesUnitSymbol", lookup(UNITS)),
        "price": ("SalesPrice", number),
        "currentcost": ("UnitCost", number),
        "isstockitem": ("IsStockedProduct", lookup({"Yes": True, "No": False})),
        "producttypecode": ("ProductType", lookup({"Item": 1, "Service": 3})),
        "defaultuomscheduleid.name": (None, always("Default Unit")),
        "msdynce_ismaintainedexternally": (None, always(True)),
        "quantitydecimal": ("SalesUnitDecimalPrecision", number),
    },
    "accounts": CUSTOMER
    | {
        "OrganizationNumberOfEmployees": ("numberofemployees", number),
        "PartyType": (None, always("Organization")),
        "AddressLocationRoles": (None, always("Business")),
        "OrganizationName": ("name", text),
        "SiteId": (None, always("1")),
        "WarehouseId": (None, always("13")),
        "PartyNumber": ("accountnumber", text),
        "AddressDescription": ("name", text),
        "DeliveryAddressStreet": ("address2_line1", text),
        "DeliveryAddressCity": ("address2_city", text),
        "DeliveryAddressCountryRegionISOCode": ("address2_country", country),
        "DeliveryAddressZipCode": ("address2_postalcode", text),
        "DeliveryAddressState": ("address2_stateorprovince", text),
        "DeliveryAddressDescription": ("name", text),
    },
    "contacts": {
        "EmploymentDepartment": ("department", text),
        "Notes": ("description", text),
        "PrimaryEmailAddress": ("emailaddress1", text),
        "Gender": ("gendercode", lookup({1: "Male", 2: "Female", None: "Unknown"})),
        "GovernmentIdentificationNumber": ("governmentid", text),
        "FirstName": ("firstname", text),
        "LastName": ("lastname", text),
        "PrimaryAddressCity": ("address1_city", text),
        "PrimaryAddressCountryRegionISOCode": ("address1_country", country),
        "MiddleName": ("middlename", text),
        "PrimaryAddressStreet": ("address1_line1", text),
        "ContactPersonPartyType": (None, always("Person")),
        "PrimaryPhoneNumber": ("telephone1", text),
        "PrimaryAddressZipCode": ("address1_postalcode", text),
        "PrimaryAddressStateId": ("address1_stateorprovince", text),
        "PrimaryURL": ("websiteurl", text),
        "MaritalStatus": (
            "familystatuscode",
            lookup({1: "Single", 2: "Married", 3: "Divorced", 4: "Widowhood", None: "None"}),
        ),
        "IsReceivingDirectMail": ("donotemail", lookup({True: "No", False: "Yes"})),
        "EmploymentProfession": ("jobtitle", text),
        "IsInactive": ("statecode", lookup({0: "No", 1: "Yes"})),
        "AssociatedPartyNumber": ("parent", text),
        "IsContactPersonExternallyMaintained": (None, always("Yes")),
    },
    "contacts_to_customer": CUSTOMER
    | {
        "PersonFirstName": ("firstname", text),
        "PersonMiddleName": ("middlename", text),
        "PersonLastName": ("lastname", text),
        "PartyType": (None, always("Person")),
        "AddressDescription": ("fullname", text),
        "PartyNumber": ("msdynce_contactnumber", text),
    },
}
KEYS = {
    "products": ("ProductNumber", "productnumber"),
    "accounts": ("accountnumber", "CustomerAccount"),
    "contacts": ("msdynce_contactnumber", "ContactPersonPartyNumber"),
    "contacts_to_customer": ("msdynce_contactnumber", "CustomerAccount"),
}
AMOUNTS = {"CreditLimit", "price", "currentcost"}
LOOSE = {
    *("AddressCity", "AddressStreet", "OrganizationName", "PrimaryContactEmail", "PersonFirstName"),
    *("FirstName", "LastName", "name", "description"),
}


@cache
def world(drift: bool) -> World:
    return generate(drift=drift)


def by_id(frame, key, column):
    return dict(zip(frame[key].to_list(), frame[column].to_list(), strict=True))


def sides(found: World, task: str):
    """Source rows with whether each flows, destination rows with whether each is the task's business."""
    sales = {name: frame.to_dicts() for name, frame in found.sales.items()}
    usmf = {
        name: [row for row in found.fno[name].to_dicts() if row["dataAreaId"] == "usmf"]
        for name in ("CustomersV2", "CDSContactPersons", "SellableReleasedProducts")
    }
    codes = by_id(found.sales["transactioncurrencies"], "transactioncurrencyid", "isocurrencycode")
    for rows in ("accounts", "contacts"):
        for row in sales[rows]:
            row["currency"] = codes[row["_transactioncurrencyid_value"]]
    if task == "products":
        units = by_id(found.sales["uoms"], "uomid", "name")
        groups = by_id(found.sales["uomschedules"], "uomscheduleid", "name")
        for row in sales["products"]:
            row["transactioncurrencyid.isocurrencycode"] = codes[row["_transactioncurrencyid_value"]]
            row["defaultuomid.name"] = units[row["_defaultuomid_value"]]
            row["defaultuomscheduleid.name"] = groups[row["_defaultuomscheduleid_value"]]
        goods = [(row, True) for row in usmf["SellableReleasedProducts"]]
        return goods, [(row, row["msdynce_ismaintainedexternally"] is True) for row in sales["products"]]
    if task == "accounts":
        source = [(row, True) for row in sales["accounts"]]
        return source, [
            (row, row["PartyType"] == "Organization" and row["IsExternallyMaintained"] == "Yes")
            for row in usmf["CustomersV2"]
        ]
    numbers = by_id(found.sales["accounts"], "accountid", "accountnumber")
    for row in sales["contacts"]:
        row["parent"] = numbers.get(row["_parentcustomerid_value"])
    if task == "contacts":
        source = [
            (row, not row["msdynce_isactivecustomer"] and row["msdynce_iscompanyanaccount"])
            for row in sales["contacts"]
        ]
        found_rows = usmf["CDSContactPersons"]
        return source, [(row, row["IsContactPersonExternallyMaintained"] == "Yes") for row in found_rows]
    source = [(row, row["msdynce_isactivecustomer"]) for row in sales["contacts"]]
    return source, [
        (row, row["PartyType"] == "Person" and row["IsExternallyMaintained"] == "Yes") for row in usmf["CustomersV2"]
    ]


def bad_keys(keys):
    """Normal form of every key that cannot be joined, and whether a key itself is bad."""
    spellings = defaultdict(list)
    for key in keys:
        spellings[(key or "").strip().casefold()].append(key)
    return {
        normal
        for normal, written in spellings.items()
        if not normal or len(written) > 1 or any(key != key.strip() for key in written)
    }


def field_outcome(name, expected, found):
    if expected is UNKNOWN:
        return "unmapped"
    if isinstance(found, str):
        found = text(found)
    if expected == found:
        return None
    if name in AMOUNTS:
        return "rounding" if abs(expected - found) <= Decimal("0.01") else "different"
    if isinstance(expected, str) and isinstance(found, str):
        if name in LOOSE and expected.strip().lower() == found.strip().lower():
            return "representation"
        if len(found) >= 20 and len(found) < len(expected) and expected.startswith(found):
            return "truncated"
    return "different"


def oracle(found: World):
    """(task, key, field, outcome) of everything that does not match."""
    outcomes = Counter()
    parties = {row["PartyNumber"] for row, _ in sides(found, "accounts")[1]}
    for task, fields in FIELDS.items():
        source_key, destination_key = KEYS[task]
        source, destination = sides(found, task)
        for row, flows in source:
            if not flows:
                outcomes[task, row[source_key] or "", None, "excluded"] += 1
        source = [row for row, flows in source if flows]
        wanted = {(row[source_key] or "").strip().casefold() for row in source} - {""}
        destination = [
            row for row, ours in destination if ours or (row[destination_key] or "").strip().casefold() in wanted
        ]
        bad = bad_keys(row[source_key] for row in source) | bad_keys(row[destination_key] for row in destination)
        partners = {}
        for row in destination:
            key = row[destination_key] or ""
            if key.strip().casefold() in bad:
                outcomes[task, key, None, "blocked"] += 1
            else:
                partners[key] = row
        for row in source:
            key = row[source_key] or ""
            if key.strip().casefold() in bad:
                outcomes[task, key, None, "blocked"] += 1
                continue
            partner = partners.pop(key, None)
            if partner is None:
                orphan = task == "contacts" and row["parent"] not in parties
                outcomes[task, key, None, "blocked" if orphan else "missing"] += 1
                continue
            for name, (column, rule) in fields.items():
                outcome = field_outcome(name, rule(row[column] if column else None), partner[name])
                if outcome:
                    outcomes[task, key, name, outcome] += 1
        for key in partners:
            outcomes[task, key, None, "extra"] += 1
    return outcomes


def told(found: World):
    return set(mine(found).select("task", "key", "field", "outcome").rows())


def mine(found: World):
    """The truth about customers, contacts and products; documents have tests of their own."""
    return found.truth.filter(pl.col("task").is_in(list(FIELDS)))


def test_equal_seeds_give_equal_worlds_and_other_seeds_do_not():
    first, again, other = generate(drift=True, seed=3), generate(drift=True, seed=3), generate(drift=True, seed=4)
    for ours, theirs in ((first.sales, again.sales), (first.fno, again.fno)):
        assert list(ours) == list(theirs)
        for name, frame in ours.items():
            assert_frame_equal(frame, theirs[name])
    assert_frame_equal(first.truth, again.truth)
    assert not first.sales["accounts"].equals(other.sales["accounts"])


def test_rows_are_as_many_as_asked_for():
    clean = world(False)
    assert {name: clean.sales[name].height for name in ("accounts", "contacts")} == {"accounts": 300, "contacts": 450}
    assert clean.fno["SellableReleasedProducts"].filter(pl.col("dataAreaId") == "usmf").height == 120
    few = generate(counts={"accounts": 3, "contacts": 0})
    assert (few.sales["accounts"].height, few.sales["contacts"].height) == (3, 0)
    assert SIZES["large"]["accounts"] == 500_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param({"size": "huge"}, "no size 'huge'; known: small, medium, large", id="unknown size"),
        pytest.param({"counts": {"parcels": 1}}, "nothing is called parcels", id="unknown entity"),
        pytest.param({"counts": {"accounts": -1}}, "accounts must be 0 or more", id="negative count"),
    ],
)
def test_wrong_wishes_are_refused_with_what_would_be_right(arguments, words):
    with pytest.raises(SandboxError, match=words):
        generate(**arguments)


@pytest.mark.parametrize("drift", [False, True])
@pytest.mark.parametrize("rows", [(0, 0, 0), (0, 20, 0), (1, 1, 1), (5, 40, 2), (12, 3, 30)])
def test_worlds_of_a_few_rows_tell_the_truth_as_well(rows, drift):
    found = generate(counts=dict(zip(("accounts", "contacts", "products"), rows, strict=True)), drift=drift)
    assert set(oracle(found)) == told(found)


def test_an_empty_world_has_reference_rows_and_no_business():
    found = generate(empty=True)
    assert not {"accounts", "contacts", "products", "productpricelevels"} & set(found.sales)
    assert not {"CustomersV2", "CDSContactPersons", "SellableReleasedProducts"} & set(found.fno)
    assert found.truth.is_empty()
    assert found.truth.columns == ["task", "key", "field", "outcome", "before", "after"]
    assert {"USD", "EUR", "GBP"} <= set(found.sales["transactioncurrencies"]["isocurrencycode"])
    assert {"Each", "Piece", "Pound", "Kilogram", "Box"} <= set(found.sales["uoms"]["name"])
    usmf = {
        name: frame.filter(pl.col("dataAreaId") == "usmf") for name, frame in found.fno.items() if "dataAreaId" in frame
    }
    assert "10" in usmf["CustomerGroups"]["CustomerGroupId"]
    assert "1" in usmf["OperationalSitesV2"]["SiteId"]
    assert "13" in usmf["Warehouses"]["WarehouseId"]


def test_without_drift_nothing_differs_but_contacts_that_no_route_takes():
    clean = world(False)
    outcomes = oracle(clean)
    assert {outcome for *_, outcome in outcomes} == {"excluded"}
    assert {task for task, *_ in outcomes} == {"contacts", "contacts_to_customer"}
    assert set(outcomes) == told(clean)


@pytest.mark.parametrize("seed", [7, 1, 2, 3])
def test_with_drift_the_oracle_finds_the_truth_and_nothing_else(seed):
    found = world(True) if seed == 7 else generate(drift=True, seed=seed)
    assert set(oracle(found)) == told(found)
    assert mine(found).height == len(told(found))


def test_the_oracle_sees_a_difference_that_nobody_told_it():
    clean = world(False)
    customers = clean.fno["CustomersV2"]
    blank = pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("Gotham")).otherwise("AddressCity").alias("AddressCity")
    tampered = World(clean.sales, clean.fno | {"CustomersV2": customers.with_columns(blank)}, clean.truth)
    account = customers["CustomerAccount"][3]
    assert set(oracle(tampered)) - told(clean) == {("accounts", account, "AddressCity", "different")}


def test_every_kind_of_outcome_is_there_for_every_task():
    found = Counter((task, outcome) for task, _, _, outcome in told(world(True)))
    rows = ("missing", "extra", "blocked", "different", "representation", "unmapped", "truncated")
    wanted = {(task, outcome) for task in FIELDS for outcome in rows}
    wanted |= {(task, "rounding") for task in FIELDS if task != "contacts"}  # a contact has no amount
    wanted |= {(task, "excluded") for task in ("contacts", "contacts_to_customer")}
    assert {pair: n for pair, n in found.items() if n < 2} == {}
    assert wanted == set(found)


def test_left_out_rows_keep_their_destination_rows():
    truth = world(True).truth
    for task in ("contacts", "contacts_to_customer"):
        mine = truth.filter(pl.col("task") == task)
        edited = mine.filter((pl.col("outcome") == "excluded") & pl.col("before").is_not_null())
        assert edited.height >= 2
        assert set(edited["key"]) <= set(mine.filter(pl.col("outcome") == "extra")["key"])


def test_contacts_of_a_missing_company_are_blocked():
    found = world(True)
    rows = {row["msdynce_contactnumber"]: row for row, _ in sides(found, "contacts")[0]}
    truth = found.truth
    missing = set(truth.filter((pl.col("task") == "accounts") & (pl.col("outcome") == "missing"))["key"])
    blocked = truth.filter((pl.col("task") == "contacts") & (pl.col("outcome") == "blocked"))["key"]
    assert sum(rows[key]["parent"] in missing for key in blocked if key in rows) >= 2


def test_truncated_and_cured_texts_fit_the_destination():
    found, lengths = world(True), load_schema("fno").entities["CustomersV2"].columns
    cut = found.truth.filter(pl.col("outcome") == "truncated")
    assert cut.select((pl.col("after").str.len_chars() >= 20).all()).item()
    assert cut.select(pl.col("before").str.starts_with(pl.col("after")).all()).item()
    for name, before in cut.filter(pl.col("task") == "accounts").select("field", "before").rows():
        assert lengths[name].length is None or len(before) <= lengths[name].length


@pytest.mark.parametrize("drift", [False, True])
@pytest.mark.parametrize("system", ["sales", "fno"])
def test_frames_have_the_columns_types_and_lengths_of_their_entities(system, drift):
    entities = load_schema(system).entities
    for name, frame in getattr(world(drift), system).items():
        known = entities[name].columns
        assert set(frame.columns) - set(known) <= {"_parentcustomerid_type", "_customerid_type"}, name
        for column in set(frame.columns) & set(known):
            kind, values = known[column].edm_type, frame[column]
            dtype = {"Edm.Int32": pl.Int32, "Edm.Boolean": pl.Boolean, "Edm.Decimal": MONEY}.get(kind, pl.String)
            assert values.dtype == (pl.Datetime("us", "UTC") if kind == "Edm.DateTimeOffset" else dtype), (name, column)
            if known[column].enum:
                assert set(values) <= set(load_schema(system).enums[known[column].enum]), (name, column)
            if known[column].options:
                assert set(values.drop_nulls()) <= set(known[column].options), (name, column)
            # "USA" in an ISO code of two letters: the template's own default
            if known[column].length and "ISOCode" not in column:
                assert (values.drop_nulls().str.len_chars() <= known[column].length).all(), (name, column)
            if system == "fno":
                assert values.null_count() == 0, (name, column)


@pytest.mark.parametrize("drift", [False, True])
def test_keys_can_be_stored(drift):
    found = world(drift)
    for system in ("sales", "fno"):
        for name, frame in getattr(found, system).items():
            key = list(load_schema(system).entities[name].key)
            folded = frame.select(pl.col(key).cast(pl.String).str.to_lowercase())
            assert folded.is_unique().all(), name
    numbers = found.sales["contacts"]["msdynce_contactnumber"].drop_nulls().str.to_lowercase()
    assert numbers.is_unique().all()


@pytest.mark.parametrize("drift", [False, True])
def test_lookups_point_at_rows_that_exist(drift):
    found = world(drift).sales
    targets = {
        "_transactioncurrencyid_value": ("transactioncurrencies", "transactioncurrencyid"),
        "_defaultuomid_value": ("uoms", "uomid"),
        "_uomid_value": ("uoms", "uomid"),
        "_defaultuomscheduleid_value": ("uomschedules", "uomscheduleid"),
        "_uomscheduleid_value": ("uomschedules", "uomscheduleid"),
        "_pricelevelid_value": ("pricelevels", "pricelevelid"),
        "_productid_value": ("products", "productid"),
        "_ownerid_value": ("systemusers", "systemuserid"),
        "_owningbusinessunit_value": ("businessunits", "businessunitid"),
        "_baseuom_value": ("uoms", "uomid"),
    }
    for name, frame in found.items():
        for column in set(frame.columns) & set(targets):
            entity, key = targets[column]
            assert set(frame[column].drop_nulls()) <= set(found[entity][key]), (name, column)
    parents = found["contacts"].filter(pl.col("_parentcustomerid_value").is_not_null())
    for kind, entity, key in (("account", "accounts", "accountid"), ("contact", "contacts", "contactid")):
        ids = parents.filter(pl.col("_parentcustomerid_type") == kind)["_parentcustomerid_value"]
        assert ids.len() > 0
        assert set(ids) <= set(found[entity][key])


def test_products_from_finance_have_an_item_in_the_first_active_price_list_of_their_currency():
    found = world(False).sales
    products = found["products"].filter(pl.col("msdynce_ismaintainedexternally"))
    items = found["productpricelevels"]
    dollars = found["pricelevels"].join(
        found["transactioncurrencies"].filter(pl.col("isocurrencycode") == "USD"),
        left_on="_transactioncurrencyid_value",
        right_on="transactioncurrencyid",
    )
    first = dollars.filter(pl.col("statecode") == 0).sort("name")["pricelevelid"][0]
    assert set(items["_pricelevelid_value"]) == {first}
    both = products.join(items, left_on="productid", right_on="_productid_value")
    assert both.height == products.height
    assert both.select((pl.col("price") == pl.col("amount")).all()).item()
    assert found["products"].filter(pl.col("statecode") == 2)["statuscode"].unique().to_list() == [0]


def test_every_field_of_a_task_varies_and_hard_cases_are_there():
    clean = world(False)
    varied = [
        "creditlimit,fax,description,emailaddress1,numberofemployees,telephone1,websiteurl,name,address1_line1,"
        "address1_city,address1_country,address1_postalcode,address1_stateorprovince,address2_line1,address2_city,"
        "address2_country,address2_postalcode,address2_stateorprovince,_transactioncurrencyid_value",
        "department,description,emailaddress1,gendercode,governmentid,firstname,middlename,lastname,websiteurl,"
        "familystatuscode,donotemail,jobtitle,statecode,creditlimit,fullname,fax,_parentcustomerid_type",
    ]
    for entity, columns in zip(("accounts", "contacts"), varied, strict=True):
        for column in columns.split(","):
            assert clean.sales[entity][column].n_unique() >= 2, (entity, column)
    accounts = clean.sales["accounts"]
    assert accounts["name"].str.len_chars().max() == 100
    assert accounts["description"].str.len_chars().max() > 1900
    assert accounts["name"].str.contains("'", literal=True).any()
    assert accounts["name"].str.contains("ü|ß|é").any()
    assert accounts["creditlimit"].null_count() > 0
    assert accounts["creditlimit"].max() > Decimal("90071992547409")  # no 64-bit float holds it to the cent
    assert accounts["creditlimit"].min() >= 0
    assert accounts.filter(pl.col("address1_country") != pl.col("address1_country").str.strip_chars()).height > 0
    unsent = clean.sales["contacts"].filter(
        ~pl.col("msdynce_isactivecustomer") & ~pl.col("msdynce_iscompanyanaccount")
    )["msdynce_contactnumber"]
    assert unsent.null_count() > 0
    assert unsent.str.ends_with(" ").any()


def test_rows_of_one_system_alone_are_never_mentioned():
    found = world(True)
    own = found.fno["CustomersV2"].filter(
        (pl.col("dataAreaId") == "demf") | pl.col("CustomerAccount").str.starts_with("US-")
    )
    assert set(own["IsExternallyMaintained"]) == {"No"}
    assert set(own["dataAreaId"]) == {"usmf", "demf"}
    flags = found.sales["products"].filter(pl.col("productnumber").str.starts_with("SVC-"))
    assert set(flags["msdynce_ismaintainedexternally"]) == {False, None}
    alone = {*own["CustomerAccount"], *flags["productnumber"]}
    assert not alone & set(found.truth["key"])


def test_changed_rows_of_sales_were_modified_after_all_others():
    found = world(True)
    renamed = found.truth.filter((pl.col("field") == "DeliveryAddressDescription") & (pl.col("outcome") == "different"))
    edited = found.sales["accounts"].filter(pl.col("accountnumber").is_in(renamed["key"].implode()))
    assert edited["modifiedon"].min() == found.sales["accounts"]["modifiedon"].max()
    assert found.sales["accounts"].select((pl.col("modifiedon") >= pl.col("createdon")).all()).item()
