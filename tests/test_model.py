from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from p2c_lib.connect.metadata import Column, Entity, Lookup
from p2c_lib.errors import ParameterError, TemplateError
from p2c_lib.model import (
    Condition,
    FieldMap,
    Task,
    Template,
    advise_against,
    check_against,
    describe,
    find_task,
    list_rows,
    load_templates,
    load_texts,
    read_constant,
    with_lengths,
)

VALUE_MAPS = """
value_maps:
  country: {entries: {germany: DE, NO: Norway, usa: US}}
  currency: {entries: {usd: USD}}
"""
HEAD = """
template: accounts
title: Accounts
direction: sales_to_fno
position: 2
tasks:
  - name: accounts
    source: {system: sales, entity: accounts}
    destination: {system: fno, entity: CustomersV2}
    key: {CustomerAccount: accountnumber}
"""
FIELDS = """
    fields:
      - {destination: CustomerAccount, source: accountnumber}
      - {destination: Country, source: address1_country, map: value_map, value_map: country}
      - {destination: Group, map: default, value: "10"}
      - {destination: CreditLimit, source: creditlimit, tolerance: 0.01, money: true}
"""
GOOD_MAPS = VALUE_MAPS.replace("NO: Norway", "no: Norway")


def load(text: str, maps: str = GOOD_MAPS, overlays: tuple[Path, ...] = ()) -> dict[str, Template]:
    return load_texts({"accounts.yaml": text, "value_maps.yaml": maps}, overlays)


def problems(text: str, maps: str = GOOD_MAPS, overlays: tuple[Path, ...] = ()) -> list[str]:
    with pytest.raises(TemplateError) as caught:
        load(text, maps, overlays)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def overlaid(tmp_path: Path, text: str, name: str = "site.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


# --- reading ------------------------------------------------------------------------------------------------------


def test_a_template_reads_as_it_is_typed():
    task = find_task("accounts", load(HEAD + FIELDS))
    assert (task.template, task.key) == ("accounts", {"CustomerAccount": "accountnumber"})
    assert task.field("CreditLimit").tolerance == Decimal("0.01")
    assert task.field("Group").value == "10"
    assert task.value_maps["country"].entries == {"germany": "DE", "no": "Norway", "usa": "US"}
    assert list(task.value_maps) == ["country"]  # those that its fields name


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        *((text, text) for text in ("NO", "Yes", "007", "10", "1/1/2020", "0.10", "2020-01-31", "true", "1e5", "-1")),
        ("'  '", "  "),
    ],
)
def test_a_constant_without_quotes_stays_the_text_it_is(typed, read):
    task = find_task("accounts", load(HEAD + FIELDS.replace('"10"', typed)))
    assert task.field("Group").value == read


def test_parts_are_frozen():
    task = find_task("accounts", load(HEAD + FIELDS))
    with pytest.raises(ValidationError, match="frozen"):
        task.name = "other"


def test_an_unknown_task_or_column_is_named_with_what_would_be_right():
    templates = load(HEAD + FIELDS)
    with pytest.raises(ParameterError, match="no task 'acounts'; did you mean 'accounts'"):
        find_task("acounts", templates)
    with pytest.raises(KeyError, match="accounts fills no column 'Nothing'"):
        find_task("accounts", templates).field("Nothing")


# --- faults -------------------------------------------------------------------------------------------------------

F = "accounts.yaml: tasks[0].fields[1]"
FAULTS = [
    pytest.param("a: [1", ["accounts.yaml: line ", "not YAML"], id="broken YAML"),
    pytest.param("\t- a", ["accounts.yaml: line 1", "not YAML"], id="a tab"),
    pytest.param("just words", ["accounts.yaml: holds no entries", "template:"], id="no mapping"),
    pytest.param("{[a, b]: c}", ["a key must be one word"], id="a list as key"),
    pytest.param("x: &a [*a]", ["line 1, column 8", "no aliases (*name) here; write it out"], id="an alias"),
    pytest.param("!!python/object/apply:os.system [ls]", ["not YAML", "could not determine a constructor"], id="a tag"),
    pytest.param("", ["accounts.yaml: holds no entries"], id="an empty file"),
    pytest.param("titel: x", ["accounts.yaml: is neither a template", "value_maps"], id="neither template nor maps"),
    pytest.param(
        HEAD + FIELDS + "titel: x\n", ["accounts.yaml: titel: no such entry; did you mean 'title'?"], id="entry"
    ),
    pytest.param(HEAD + FIELDS + "title: x\n", ["accounts.yaml: line ", "'title' stands twice"], id="an entry twice"),
    pytest.param(
        HEAD + FIELDS.replace("source: address1_country", "sorce: address1_country"),
        [f"{F}.sorce: no such entry; did you mean 'source'?", f"{F}.source: map value_map needs it"],
        id="an unknown entry of a field",
    ),
    pytest.param(
        HEAD + FIELDS.replace("value_map: country", "value_map: contry"),
        [f"{F}.value_map: no value map 'contry'; did you mean 'country'?; known: country, currency"],
        id="an unknown value map",
    ),
    pytest.param(
        HEAD + FIELDS.replace("map: value_map,", "map: valuemap,"),
        [f"{F}.map: 'valuemap' is not one of its values; did you mean 'value_map'?", "copy, default"],
        id="an unknown map",
    ),
    pytest.param(
        HEAD + FIELDS.replace("destination: Group", "destination: Country"),
        ["fields[2].destination: 'Country' is filled twice"],
        id="a destination twice",
    ),
    pytest.param(
        HEAD.replace("{CustomerAccount:", "{CustomerAcount:") + FIELDS,
        ["tasks[0].key.CustomerAcount: 'CustomerAcount' is not among the fields; did you mean 'CustomerAccount'?"],
        id="a key that no field fills",
    ),
    pytest.param(
        HEAD.replace("CustomerAccount: accountnumber}", "CustomerAccount: name}") + FIELDS,
        ["tasks[0].key.CustomerAccount: is 'name' here but 'accountnumber' in its field"],
        id="a key of two sources",
    ),
    pytest.param(
        HEAD.replace("key: {CustomerAccount: accountnumber}", "key: {}") + FIELDS,
        ["tasks[0].key: must have"],
        id="no key",
    ),
    pytest.param(HEAD, ["accounts.yaml: tasks[0].fields: must be given"], id="no fields"),
    pytest.param(HEAD + "    fields: name\n", ["tasks[0].fields: must be a list, '[a, b]', not 'name'"], id="no list"),
    pytest.param(HEAD + "    fields: [name]\n", ["tasks[0].fields[0]: must be entries", "not 'name'"], id="no mapping"),
    pytest.param(
        HEAD.replace("position: 2", "position: two") + FIELDS, ["position: 'two' is not a whole number"], id="two"
    ),
    pytest.param(
        HEAD.replace("position: 2", "position: 0") + FIELDS, ["position: ", "greater than or equal to 1"], id="0"
    ),
    pytest.param(
        HEAD + FIELDS.replace("0.01", "a cent"),
        ["fields[3].tolerance: 'a cent' is not an amount; write it as '0.01'"],
        id="cent",
    ),
    pytest.param(
        HEAD + FIELDS.replace("0.01", "-0.01"), ["fields[3].tolerance: ", "greater than or equal to 0"], id="minus"
    ),
    pytest.param(
        HEAD + FIELDS.replace("0.01", ".nan"), ["fields[3].tolerance: '.nan' is not an amount"], id="no number"
    ),
    pytest.param(
        HEAD + FIELDS.replace("tolerance: 0.01", "normalise: [trimm]"),
        ["fields[3].normalise[0]: 'trimm' is not one of its values; did you mean 'trim'?"],
        id="an unknown normaliser",
    ),
    pytest.param(
        HEAD + FIELDS.replace("tolerance: 0.01", "map: transform, transform: [uper]"),
        ["fields[3].transform: no transform 'uper'; known: difference, lower, round_half_away, strip, sum, upper"],
        id="an unknown transform",
    ),
    pytest.param(
        HEAD + FIELDS.replace("tolerance: 0.01", "map: transform, transform: [round_half_away]"),
        ["fields[3].transform: 'round_half_away' has wrong arguments; write round_half_away(2)"],
        id="a transform without its argument",
    ),
    pytest.param(
        HEAD + FIELDS.replace("tolerance: 0.01", "transform: [upper]"),
        ["fields[3].transform: map copy has no use for it; leave it out, or write 'map: transform'"],
        id="an entry that the map does not read",
    ),
    pytest.param(
        HEAD + FIELDS.replace('map: default, value: "10"', "map: default"),
        ["fields[2].value: map default needs it"],
        id="a default without value",
    ),
    pytest.param(
        HEAD + FIELDS.replace("source: creditlimit", "source: credit limit"),
        ["fields[3].source: 'credit limit' is not the name of a column; a path is a.b"],
        id="a column with a blank",
    ),
    pytest.param(
        HEAD + FIELDS.replace("money: true", "truncate: 0"), ["fields[3].truncate: ", "equal to 1"], id="truncate 0"
    ),
    pytest.param(
        HEAD + FIELDS.replace("money: true", "money: Currency"),
        ["fields[3].money: 'Currency' is not among the fields; true, or "],
        id="an unknown currency column",
    ),
    pytest.param(
        HEAD + FIELDS + "    amount: CreditLimt\n    currency: Group\n",
        ["tasks[0].amount: 'CreditLimt' is not among the fields; did you mean 'CreditLimit'?"],
        id="an unknown amount",
    ),
    pytest.param(
        HEAD + FIELDS + "    amount: Group\n",
        ["tasks[0].amount: 'Group' is not money; give its field 'money: true'"],
        id="no money",
    ),
    pytest.param(
        HEAD + FIELDS + "    filter: [{name: f, column: c, op: equals, value: 1}]\n",
        ["tasks[0].filter[0].op: 'equals' is not one of its values; known: eq, ne, is_blank, not_blank, in"],
        id="an unknown question",
    ),
    pytest.param(
        HEAD + FIELDS + "    filter: [{name: f, column: c}, {name: f, column: c, op: is_blank, value: 1}]\n",
        [
            "filter[0].value: eq needs a value",
            "filter[1].name: 'f' stands twice",
            "filter[1].value: is_blank has no value",
        ],
        id="conditions that make no sense",
    ),
    pytest.param(
        HEAD + FIELDS + "    filter: [{name: f, column: c, op: in, value: 1}, {name: g, column: c, value: [1]}]\n",
        ["filter[0].value: in takes a list", "filter[1].value: in takes a list"],
        id="a list where one value belongs",
    ),
    pytest.param(
        HEAD + FIELDS + "    filter: [{name: f, column: c, value: {a: 1}}]\n",
        ["tasks[0].filter[0].value: "],
        id="entries as value",
    ),
    pytest.param(
        HEAD.replace("entity: accounts}", "entity: accounts, scope: [{name: s, column: c, value: 1}]}") + FIELDS,
        ["tasks[0].source.scope: belongs to the destination"],
        id="a scope of the source",
    ),
    pytest.param(
        HEAD.replace("sales_to_fno", "to_fno") + FIELDS, ["direction: 'to_fno' is not one of its values"], id="way"
    ),
    pytest.param(
        HEAD.replace("sales_to_fno", "fno_to_sales") + FIELDS,
        ["tasks[0].source.system: goes sales_to_fno, but the template's direction is fno_to_sales"],
        id="the wrong direction",
    ),
    pytest.param(
        HEAD + FIELDS + "prerequisites: [product]\n",
        ["prerequisites[0]: no template 'product'; known: accounts"],
        id="prerequisite",
    ),
    pytest.param(
        HEAD + FIELDS.replace("money: true", "parent: [{entity: A, column: B}, {entity: A, column: B, task: acounts}]"),
        ["fields[3].parent[1].task: no task 'acounts'; did you mean 'accounts'?"],
        id="an unknown parent among several",
    ),
    pytest.param(
        HEAD + FIELDS.replace("money: true", "map: transform, transform: ['sum(x, creditlimit)']"),
        ["fields[3].transform: 'sum(x, creditlimit)' has wrong arguments", "with 'creditlimit' first"],
        id="a sum without its source",
    ),
    pytest.param(
        HEAD + FIELDS.replace("money: true", "map: transform, transform: ['difference(creditlimit, 1x)']"),
        ["fields[3].transform: '1x' is not the name of a column"],
        id="a difference with no column",
    ),
    pytest.param(
        HEAD + FIELDS.replace("money: true", "parent: {entity: A, column: B, task: acounts}"),
        ["fields[3].parent.task: no task 'acounts'; did you mean 'accounts'?"],
        id="an unknown parent",
    ),
    pytest.param(
        HEAD + FIELDS + "    value_maps: {}\n",
        ["tasks[0].value_maps: 'value_maps' is not written in a task"],
        id="maps",
    ),
]


@pytest.mark.parametrize(("text", "words"), FAULTS)
def test_a_fault_is_named_with_file_path_and_what_would_be_right(text, words):
    told = problems(text)
    for word in words:
        assert any(word in line for line in told), f"{word!r} is not in {told}"


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        (VALUE_MAPS, "value_maps.yaml: value_maps.country.entries.NO: 'NO' never matches"),
        (GOOD_MAPS.replace("usa: US", "usa: {a: b}"), "value_maps.yaml: value_maps.country.entries.usa: must be text"),
        (
            GOOD_MAPS.replace("entries: {usd: USD}", "entires: {usd: USD}"),
            "currency.entires: no such entry; did you mean 'entries'",
        ),
        (GOOD_MAPS.replace("{entries: {usd: USD}}", "USD"), "value_maps.currency: must be '{entries: {...}}'"),
        (GOOD_MAPS.replace("usa: US", "usa: US, usa: USA"), "value_maps.yaml: line 3: 'usa' stands twice"),
        (
            GOOD_MAPS.replace(
                "{entries: {usd: USD}}", "{entries: {usd: USD}, quirk: {name: q, says: s, instead: code}}"
            ),
            "currency.quirk[0].instead: 'code' is not the name of a source column that could be copied instead",
        ),
        (
            GOOD_MAPS.replace(
                "{entries: {usd: USD}}", "{entries: {usd: USD}, quirk: {name: q, says: s, entries: {EU: x}}}"
            ),
            "currency.quirk[0].entries.EU: 'EU' never matches",
        ),
    ],
)
def test_a_fault_of_a_value_map_is_named(maps, words):
    assert any(words in line for line in problems(HEAD + FIELDS, maps))


def test_all_faults_of_all_files_come_together():
    other = HEAD.replace("template: accounts", "template: other").replace("position: 2", "position: no")
    texts = {
        "accounts.yaml": HEAD + FIELDS.replace("value_map: country", "value_map: nothing") + "titel: x\n",
        "broken.yaml": "a: [",
        "other.yaml": other + FIELDS.replace("0.01", "x"),
        "value_maps.yaml": VALUE_MAPS,
    }
    with pytest.raises(TemplateError) as caught:
        load_texts(texts)
    assert {line.split(":")[0] for line in caught.value.problems} == set(texts)
    assert len([line for line in caught.value.problems if line.startswith("other.yaml")]) == 2


def test_a_template_or_task_name_given_twice_is_refused():
    texts = {"a.yaml": HEAD + FIELDS, "b.yaml": HEAD + FIELDS, "value_maps.yaml": GOOD_MAPS}
    with pytest.raises(TemplateError, match=r"b\.yaml: template: template 'accounts' is in a\.yaml already"):
        load_texts(texts)
    texts["b.yaml"] = (HEAD + FIELDS).replace("template: accounts", "template: second")
    with pytest.raises(TemplateError, match=r"tasks\[0\]\.name: 'accounts' is a task of template 'accounts' already"):
        load_texts(texts)


def test_a_binary_number_is_refused_as_tolerance():
    with pytest.raises(ValidationError, match=r"write the text '0\.1'"):
        FieldMap(destination="a", source="b", tolerance=0.1)


# --- overlays -----------------------------------------------------------------------------------------------------


def test_an_overlay_changes_adds_and_drops_without_copying(tmp_path):
    site = overlaid(
        tmp_path,
        """
        overlay: Contoso
        value_maps:
          country: {entries: {usa: null, schweiz: CH, germany: DEU}}
          terms: {add: true, entries: {"1": Net30}}
        tasks:
          accounts:
            amount: CreditLimit
            fields:
              Group: {value: "30"}
              Country: {blank_default: US, normalise: [trim]}
              CreditLimit: {tolerance: "0.05"}
              Terms: {add: true, source: paymenttermscode, map: value_map, value_map: terms}
            filter:
              is_active: {add: true, column: statecode, value: 0, says: the account is inactive}
            scope:
              group: {add: true, column: Group, value: "30"}
        """,
    )
    shipped, changed = (find_task("accounts", load(HEAD + FIELDS, overlays=files)) for files in ((), (site,)))
    assert changed.field("Group").value == "30"
    assert changed.field("Country").blank_default == "US"
    assert changed.field("Country").source == "address1_country"
    assert changed.field("CreditLimit").tolerance == Decimal("0.05")
    assert changed.value_maps["country"].entries == {"germany": "DEU", "no": "Norway", "schweiz": "CH"}
    assert changed.field("Terms").source == "paymenttermscode"
    assert [condition.name for condition in changed.filter] == ["is_active"]
    assert [condition.column for condition in changed.destination.scope] == ["Group"]
    assert changed.amount == "CreditLimit"
    assert shipped.field("Group").value == "10"  # what is shipped is as it was


def test_overlays_are_laid_one_over_the_other_in_order(tmp_path):
    one = overlaid(tmp_path, "tasks: {accounts: {fields: {Group: {value: a}, Country: drop}}}", "one.yaml")
    two = overlaid(tmp_path, "tasks: {accounts: {fields: {Group: {value: b}}}}", "two.yaml")
    task = find_task("accounts", load(HEAD + FIELDS, overlays=(one, two)))
    assert task.field("Group").value == "b"
    assert [field.destination for field in task.fields] == ["CustomerAccount", "Group", "CreditLimit"]


def test_a_new_map_takes_away_what_only_the_old_one_used(tmp_path):
    site = overlaid(tmp_path, "tasks: {accounts: {fields: {Country: {map: default, value: DE}}}}")
    field = find_task("accounts", load(HEAD + FIELDS, overlays=(site,))).field("Country")
    assert (field.map, field.value, field.source, field.value_map) == ("default", "DE", None, None)


def test_an_overlay_can_change_a_condition_of_the_shipped_filter(tmp_path):
    site = overlaid(
        tmp_path,
        "tasks: {contacts: {filter: {company_is_an_account: drop, not_active_customer: {op: is_blank, value: null}}}}",
    )
    (condition,) = find_task("contacts", load_templates((site,))).filter
    assert (condition.name, condition.op, condition.value) == ("not_active_customer", "is_blank", None)


def test_a_file_of_a_site_can_be_a_template_of_its_own(tmp_path):
    own = (HEAD + FIELDS).replace("template: accounts", "template: own").replace("name: accounts", "name: own")
    templates = load(HEAD + FIELDS, overlays=(overlaid(tmp_path, own),))
    assert list(templates) == ["accounts", "own"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tasks: {acounts: {}}", "tasks.acounts: no task 'acounts'; did you mean 'accounts'?"),
        ("tasks: {accounts: {fields: {Groop: {value: 1}}}}", "fields.Groop: no field 'Groop'; did you mean 'Group'?"),
        ("tasks: {accounts: {fields: {Groop: drop}}}", "fields.Groop: no field 'Groop'; did you mean 'Group'?"),
        ("tasks: {accounts: {fields: {Groop: {value: 1}}}}", "'add: true' makes a new one"),
        (
            "tasks: {accounts: {fields: {Group: {valeu: 1}}}}",
            "tasks.accounts.fields.Group.valeu: no such entry; did you mean",
        ),
        (
            "tasks: {accounts: {fields: {Group: 30}}}",
            "fields.Group: must be '{entry: value}' with what changes, or 'drop'",
        ),
        ("tasks: {accounts: {fields: [Group]}}", "tasks.accounts.fields: must be entries by name"),
        ("tasks: {accounts: {feilds: {}}}", "tasks.accounts.feilds: no such entry; did you mean 'fields'?"),
        ("tasks: {accounts: 1}", "tasks.accounts: must be a list of changes by name"),
        ("tasks: {accounts: {filter: {x: {value: 1}}}}", "filter.x: no condition 'x'"),
        ("tasks: {accounts: {fields: {Country: {value_map: x}}}}", "fields.Country.value_map: no value map 'x'"),
        ("tasks: {accounts: {fields: {CustomerAccount: drop}}}", "accounts.yaml: tasks[0].key.CustomerAccount: "),
        (
            "value_maps: {contry: {entries: {a: b}}}",
            "value_maps.contry: no value map 'contry'; did you mean 'country'?",
        ),
        ("value_maps: {country: {entries: {A: b}}}", "value_maps.country.entries.A: 'A' never matches"),
        ("value_maps: {country: [a]}", "value_maps.country: must be '{entries: {...}}'"),
        ("value_map: {}", "value_map: no such entry; did you mean 'value_maps'?"),
        ("a: [", "not YAML"),
    ],
)
def test_a_fault_of_an_overlay_is_named_with_the_overlays_own_path(tmp_path, text, words):
    site = overlaid(tmp_path, text)
    told = problems(HEAD + FIELDS, overlays=(site,))
    assert any(words in line for line in told), told
    if not words.startswith("accounts.yaml"):
        assert any(line.startswith(str(site)) and words in line for line in told), told


def test_a_fault_behind_a_dropped_field_keeps_the_place_it_has_in_the_file(tmp_path):
    site = overlaid(tmp_path, "tasks: {accounts: {fields: {Group: drop}}}")
    told = problems(HEAD + FIELDS.replace("0.01", "x"), overlays=(site,))
    assert told == ["accounts.yaml: tasks[0].fields[3].tolerance: 'x' is not an amount; write it as '0.01'"]


def test_an_overlay_that_is_not_there_or_not_text_is_named(tmp_path):
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"overlay: Z\xfcrich")
    told = problems(HEAD + FIELDS, overlays=(tmp_path / "none.yaml", latin, tmp_path))
    assert "none.yaml: cannot be read: No such file" in told[0]
    assert "latin.yaml: is not UTF-8 text (byte 10)" in told[1]
    assert "cannot be read: Is a directory" in told[2]


# --- conditions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "value", "column", "holds"),
    [
        ("eq", True, [True, False, None], [True, False, False]),
        ("ne", True, [True, False, None], [False, True, True]),
        ("eq", 0, [0, 1, None], [True, False, False]),
        ("eq", "Yes", ["Yes", "yes ", "No", None], [True, True, False, False]),
        ("ne", "Yes", ["Yes", "YES", "No", None], [False, False, True, True]),
        ("in", ("a", "b"), ["A", "c", None], [True, False, False]),
        ("in", (1, 2), [2, 3, None], [True, False, False]),
        ("is_blank", None, ["", "  ", None, "a"], [True, True, True, False]),
        ("not_blank", None, ["", None, "a"], [False, False, True]),
        ("is_blank", None, [0, None], [False, True]),
    ],
)
def test_a_condition_is_true_or_false_and_never_null(op, value, column, holds):
    condition = Condition(name="c", column="x", op=op, value=value)
    found = pl.DataFrame({"x": column}).select(condition.expr())["x"]
    assert (found.dtype, found.to_list()) == (pl.Boolean, holds)


NO_YES = "Microsoft.Dynamics.DataEntities.NoYes"


@pytest.mark.parametrize(
    ("system", "edm_type", "op", "value", "filter_text"),
    [
        ("sales", "Edm.Boolean", "eq", True, "x eq true"),
        ("sales", "Edm.Int32", "in", (0, 1), "(x eq 0 or x eq 1)"),
        ("sales", "Edm.String", "eq", "O'Brien", "x eq 'O''Brien'"),
        ("sales", "Edm.String", "ne", "a", "(x ne 'a' or x eq null)"),
        ("sales", "Edm.String", "is_blank", None, "(x eq null or x eq '')"),
        ("sales", "Edm.String", "not_blank", None, "x ne null"),
        ("fno", "Edm.String", "is_blank", None, "x eq ''"),
        ("fno", "Edm.String", "not_blank", None, "x ne ''"),
        ("fno", "Edm.String", "ne", "a", "x ne 'a'"),
        ("fno", NO_YES, "eq", "Yes", f"x eq {NO_YES}'Yes'"),
        ("fno", "Edm.Decimal", "is_blank", None, None),
    ],
)
def test_a_condition_is_said_in_the_services_own_words(system, edm_type, op, value, filter_text):
    condition = Condition(name="c", column="x", op=op, value=value)
    assert condition.odata(Column("x", edm_type), system) == filter_text


def test_a_condition_over_a_path_is_not_sent_to_the_service():
    condition = Condition(name="c", column="a.b", value="x")
    assert condition.odata(Column("a.b"), "sales") is None


# --- live metadata ------------------------------------------------------------------------------------------------

SOURCE = Entity(
    "accounts",
    "account",
    ("accountid",),
    {
        "accountid": Column("accountid", "Edm.Guid", nullable=False, is_key=True),
        "accountnumber": Column("accountnumber", max_length=20),
        "address1_country": Column("address1_country", max_length=80),
        "creditlimit": Column("creditlimit", "Edm.Decimal"),
        "donotemail": Column("donotemail", "Edm.Boolean"),
        "_currencyid_value": Column("_currencyid_value", "Edm.Guid"),
    },
    lookups=(Lookup("_currencyid_value", "currencyid", "currencies"),),
)
DESTINATION = Entity(
    "CustomersV2",
    "CustomerV2",
    ("dataAreaId", "CustomerAccount"),
    {
        "dataAreaId": Column("dataAreaId", nullable=False, is_key=True),
        "CustomerAccount": Column("CustomerAccount", nullable=False, is_key=True),
        "Country": Column("Country", max_length=2),
        "Group": Column("Group"),
        "CreditLimit": Column("CreditLimit", "Edm.Decimal", nullable=False),
        "Employees": Column("Employees", "Edm.Int32", nullable=False),
        "IsOneTime": Column("IsOneTime", NO_YES, enum=("No", "Yes")),
    },
)


def fitted(fields: str = FIELDS, source: Entity = SOURCE, destination: Entity = DESTINATION) -> list[str]:
    maps = GOOD_MAPS.replace("no: Norway, ", "")
    return check_against(find_task("accounts", load(HEAD + fields, maps)), source, destination)


def test_a_task_that_fits_has_no_problems():
    assert fitted() == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "source: creditlimit",
            "source: creditlimt",
            "accounts: CreditLimit: source: accounts has no column 'creditlimt'; did",
        ),
        (
            "destination: Group",
            "destination: Groop",
            "accounts: Groop: CustomersV2 has no column 'Groop'; did you mean 'Group'?",
        ),
        ("destination: Group", "destination: groupid.name", "CustomersV2 has no lookup 'groupid'; none is known"),
        (
            "source: address1_country",
            "source: curencyid.code",
            "accounts has no lookup 'curencyid'; did you mean 'currencyid'?",
        ),
        ("destination: Group", "destination: Employees, length: 3", None),
        (
            'destination: Group, map: default, value: "10"',
            "destination: Employees, map: default, value: ten",
            "'ten' is no whole",
        ),
        (
            'destination: Group, map: default, value: "10"',
            "destination: IsOneTime, map: default, value: Ye",
            "did you mean 'Yes'",
        ),
        ("source: creditlimit", "source: donotemail", "donotemail is Edm.Boolean, which does not go into Edm.Decimal"),
        (
            "value_map: country",
            "value_map: country, blank_default: USA",
            "blank_default: 'USA' is longer than the 2 characters",
        ),
        (
            "destination: CreditLimit",
            "destination: Group2",
            "CustomersV2 has no column 'Group2'; did you mean 'Group'?",
        ),
        ("source: creditlimit", "source: creditlimit, truncate: 3", "is Edm.Decimal, no text; leave 'truncate' out"),
        ('map: default, value: "10"', "source: creditlimit, money: true", "is Edm.String, no amount"),
        (
            "",
            "    filter: [{name: f, column: creditlimt, value: 0}]\n",
            "filter.f: accounts has no column 'creditlimt'",
        ),
        (
            "",
            "    filter: [{name: f, column: donotemail, value: Yes}]\n",
            "donotemail is Edm.Boolean, and never 'Yes'; write true",
        ),
        ("", "    filter: [{name: f, column: creditlimit, value: 0}]\n", None),
        (
            "source: creditlimit",
            "source: creditlimit, quirk: {name: q, says: s, instead: creditlimt}",
            "accounts: CreditLimit: quirk.q.instead: accounts has no column 'creditlimt'; did you mean 'creditlimit'",
        ),
    ],
)
def test_what_does_not_fit_the_live_metadata_is_named(old, new, words):
    found = fitted(FIELDS.replace(old, new) if old else FIELDS + new)
    assert found == [] if words is None else any(words in line for line in found), found


def test_a_required_column_that_nothing_fills_is_named():
    columns = {**DESTINATION.columns, "Site": Column("Site", required=True), "Name": Column("Name", nullable=False)}
    columns["Number"] = Column("Number", "Edm.Int32", nullable=False)  # starts at 0
    found = fitted(destination=Entity("CustomersV2", "CustomerV2", DESTINATION.key, columns))
    assert [line.split(" must")[0] for line in found] == ["accounts: CustomersV2.Site", "accounts: CustomersV2.Name"]


def test_a_scope_that_the_destination_does_not_know_is_named(tmp_path):
    site = overlaid(tmp_path, "tasks: {accounts: {scope: {s: {add: true, column: IsOneTime, value: Maybe}}}}")
    maps = GOOD_MAPS.replace("no: Norway, ", "")
    found = check_against(find_task("accounts", load(HEAD + FIELDS, maps, (site,))), SOURCE, DESTINATION)
    assert found == ["accounts: destination.scope.s: IsOneTime is never 'Maybe'; known: No, Yes"]


def test_texts_that_can_be_too_long_are_advice_and_no_problem():
    fields = FIELDS.replace("map: value_map, value_map: country", "length: 10")
    task = find_task("accounts", load(HEAD + fields))
    assert check_against(task, SOURCE, DESTINATION) == []
    (advice,) = advise_against(task, SOURCE, DESTINATION)
    assert "Country: holds 2 characters (live), address1_country up to 80; 'truncate: 2'" in advice
    cut = find_task("accounts", load(HEAD + fields.replace("length: 10", "truncate: 2")))
    assert advise_against(cut, SOURCE, DESTINATION) == []


def test_lengths_of_the_live_metadata_win_over_those_of_the_template():
    fields = FIELDS.replace("value_map: country}", "value_map: country, length: 3}").replace(
        '"10"}', '"10", length: 7}'
    )
    task = with_lengths(find_task("accounts", load(HEAD + fields)), DESTINATION)
    assert (task.field("Country").length, task.field("Country").length_confidence) == (2, "confirmed")
    assert task.field("Group").length == 7


@pytest.mark.parametrize(
    ("text", "edm_type", "value"),
    [
        ("0.10", "Edm.Decimal", Decimal("0.10")),
        ("12345678901234567.89", "Edm.Decimal", Decimal("12345678901234567.89")),
        ("-7", "Edm.Int32", -7),
        ("Yes", "Edm.Boolean", True),
        ("Yes", NO_YES, "Yes"),
        ("2020-01-31", "Edm.Date", date(2020, 1, 31)),
        ("2020-01-31T13:00:00+01:00", "Edm.DateTimeOffset", datetime(2020, 1, 31, 12, tzinfo=UTC)),
        ("2020-01-31", "Edm.DateTimeOffset", datetime(2020, 1, 31, tzinfo=UTC)),
    ],
)
def test_constants_are_read_by_the_type_of_their_column(text, edm_type, value):
    assert read_constant(text, edm_type) == value
    assert type(read_constant(text, edm_type)) is type(value)


@pytest.mark.parametrize(
    ("text", "edm_type"),
    [
        ("1/1/2020", "Edm.Date"),
        ("soon", "Edm.DateTimeOffset"),
        ("0.0000000000001", "Edm.Decimal"),
        ("NaN", "Edm.Decimal"),
        ("1" * 27, "Edm.Decimal"),
        ("1,5", "Edm.Decimal"),
        ("2147483648", "Edm.Int32"),
        ("1.0", "Edm.Int32"),
        ("maybe", "Edm.Boolean"),
    ],
)
def test_a_constant_of_another_type_is_refused(text, edm_type):
    with pytest.raises(ValueError, match=r"is no|is neither"):
        read_constant(text, edm_type)


# --- tables -------------------------------------------------------------------------------------------------------


def test_a_template_is_described_a_row_a_field():
    rows = describe(load(HEAD + FIELDS)["accounts"])
    assert [row["destination"] for row in rows] == ["CustomerAccount (key)", "Country", "Group", "CreditLimit"]
    assert [row["from"] for row in rows] == [
        "accountnumber",
        "address1_country by country",
        "always '10'",
        "creditlimit",
    ]
    assert rows[3]["compared"] == "money, tolerance 0.01"
    assert {row["quirk"] for row in rows} == {""}


QUIRKY = FIELDS.replace(
    "value_map: country}",
    "value_map: country, quirk: {name: blank, says: a blank is the US, entries: {'': US}}}",
).replace("source: creditlimit,", "source: creditlimit, quirk: {name: odd, says: it is odd, instead: aging30},")


def test_what_is_odd_about_a_field_is_described_with_what_one_would_expect():
    maps = GOOD_MAPS.replace("{entries: {germany", "{quirk: {name: no, says: NO is a land}, entries: {germany")
    template = load(HEAD + QUIRKY, maps)["accounts"]
    assert [row["quirk"] for row in describe(template)] == [
        "",
        "a blank is the US (one would expect US for a blank); NO is a land",
        "",
        "it is odd (one would expect aging30)",
    ]
    assert [(field.destination, quirk.name) for field, quirk in template.tasks[0].quirks()] == [
        ("Country", "blank"),
        ("Country", "no"),
        ("CreditLimit", "odd"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("instead: aging30", "instead: 30 days", "fields[3].quirk[0].instead: '30 days' is not the name of a source"),
        ("instead: aging30", "entries: {a: b}", "quirk[0].entries: map copy looks nothing up; name the column"),
        ("entries: {'': US}", "entries: {'': US}, instead: land", "quirk[0].instead: stands beside 'entries'"),
        ("entries: {'': US}", "entries: {US: US}", "quirk[0].entries.US: 'US' never matches"),
        ("says: it is odd", "sais: it is odd", "quirk[0].sais: no such entry; did you mean 'says'?"),
        ("name: odd, ", "", "quirk[0].name: must be given"),
        ('value: "10"', 'value: "10", quirk: {name: q, says: s, instead: x}', "quirk[0].instead: 'x' is not the name"),
    ],
)
def test_a_fault_of_a_quirk_is_named(old, new, words):
    told = problems(HEAD + QUIRKY.replace(old, new))
    assert any(words in line for line in told), told


def test_a_site_can_say_that_a_quirk_is_gone(tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text("overlay: Contoso\ntasks: {accounts: {fields: {CreditLimit: {source: aging30, quirk: null}}}}\n")
    task = load(HEAD + QUIRKY, overlays=(site,))["accounts"].tasks[0]
    assert [quirk.name for _, quirk in task.quirks()] == ["blank"]


def test_the_list_names_every_task_with_its_way_and_filter():
    rows = list_rows(load_templates())
    assert [row["task"] for row in rows[:4]] == ["products", "accounts", "contacts", "contacts_to_customer"]
    assert rows[4]["flows when"] == "active and products_from_fno_only"
    assert rows[2]["flows when"] == "not_active_customer and company_is_an_account"
    assert (rows[0]["from"], rows[0]["to"]) == ("fno.SellableReleasedProducts", "sales.products")
    assert {type(value) for row in rows for value in row.values()} == {str}


def test_a_task_can_be_made_in_code_without_a_file():
    sides = {"source": {"system": "sales", "entity": "a"}, "destination": {"system": "fno", "entity": "B"}}
    task = Task.model_validate(
        {"name": "t", **sides, "key": {"B": "a"}, "fields": [{"destination": "B", "source": "a"}]}
    )
    assert task.field("B").map == "copy"
