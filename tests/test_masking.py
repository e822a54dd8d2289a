"""No personal value is shown: tokens by law, and every file of a whole run and all that commands say, searched."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from fake_service import metadata_of
from hypothesis import given
from hypothesis import strategies as st
from pair import Pair

from p2c_lib import cli, run, write
from p2c_lib.causes import masked_words
from p2c_lib.errors import ConfigError, ParameterError, SchemaError, TemplateError
from p2c_lib.formulas import guarded, unguarded
from p2c_lib.mapping import project
from p2c_lib.masking import TOKEN, Masker, personal_fields, personal_sources, site_masker, unmasked
from p2c_lib.model import all_tasks, find_task, load_templates
from p2c_lib.places import working_folder
from p2c_lib.pull import pull
from p2c_lib.sandbox import lifecycle
from p2c_lib.write import PLAN_COLUMNS, Plan
from p2c_lib.write_cli import print_rows

TEMPLATES = load_templates(route=None)
MASKER = Masker(b"a key of the tests alone")
texts = st.text()


# tokens -------------------------------------------------------------------------------------------------------------
@given(st.lists(st.none() | texts, max_size=30), st.lists(st.none() | texts, max_size=30))
def test_tokens_are_equal_exactly_where_texts_are_in_any_column(ours, theirs):
    values = [*ours, *theirs]
    columns = (pl.Series(side, dtype=pl.String) for side in (ours, theirs))
    tokens = [token for column in columns for token in MASKER.series(column)]
    assert [token is None for token in tokens] == [value is None for value in values]
    pairs = {(value, token) for value, token in zip(values, tokens, strict=True)}
    assert len(pairs) == len(set(values)) == len(set(tokens))
    assert all(re.fullmatch(TOKEN, token) for value, token in pairs if value)
    assert ("", "") in pairs or "" not in values


def test_many_texts_have_as_many_tokens():
    numbers = pl.int_range(300_000, eager=True).cast(pl.String)
    assert MASKER.series(numbers).n_unique() == 300_000


def test_another_key_gives_other_tokens_and_none_tells_its_key():
    other = Masker(b"the key of another site")
    assert MASKER.text("Ann") == Masker(MASKER.key).text("Ann") != other.text("Ann")
    assert "key of" not in repr(MASKER)


def test_the_key_comes_from_the_environment_or_is_made_once_for_its_owner_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("P2C_HOME", str(tmp_path))
    first = site_masker().text("Ann")
    file = tmp_path / ".p2c" / "masking.key"
    assert site_masker().text("Ann") == first and file.stat().st_mode & 0o077 == 0
    assert [path.name for path in file.parent.iterdir()] == ["masking.key"]
    monkeypatch.setenv("P2C_MASKING__KEY", "0123456789abcdef")
    assert site_masker().text("Ann") == Masker(b"0123456789abcdef").text("Ann") != first
    monkeypatch.setenv("P2C_MASKING__KEY", "short")
    with pytest.raises(ConfigError, match=r"P2C_MASKING__KEY: .* 16 characters"):
        site_masker()


@pytest.mark.parametrize(
    ("said", "values", "shown"),
    [
        pytest.param("value 'Ann' is taken", ["Ann"], "value '{Ann}' is taken", id="a value"),
        pytest.param("Ann Lee, Ann", ["Ann", "Ann Lee"], "{Ann Lee}, {Ann}", id="the longer one first"),
        pytest.param("Bo is no 'Bo'", ["Bo"], "Bo is no '{Bo}'", id="a short one in quotes alone"),
        pytest.param("nothing of it", ["Ann", " "], "nothing of it", id="none"),
    ],
)
def test_what_is_said_about_a_row_is_shown_without_its_own_values(said, values, shown):
    rows = pl.DataFrame({"order": [7, 8], "error": [said, said]}, schema={"order": pl.UInt32, "error": pl.String})
    known = pl.DataFrame({"order": [7] * len(values), "value": values}, schema={"order": pl.UInt32, "value": pl.String})
    tokens = {value: MASKER.text(value) for value in values}
    mine, other = MASKER.words(rows, known, "error")["error"]
    assert mine == re.sub(r"\{(.*?)\}", lambda found: tokens[found[1]], shown) and other == said


# what is personal ---------------------------------------------------------------------------------------------------
def test_whatever_is_called_like_a_persons_data_is_personal_in_every_template():
    named = re.compile(
        r"e?mail(?!ing|.*(allowed|country|city|state|postalcode))|phone(?!.*allowed)|fax$|birth|gender|marital|government"
        r"|(first|last|middle|given|sur)_?name|street|line[123]$|profession",
        re.IGNORECASE,
    )
    missed = [
        f"{task.name}.{one.destination}"
        for task in all_tasks(TEMPLATES)
        for one in task.fields
        if not one.personal and one.source and named.search(one.destination) and one.value_map != "bool_to_noyes"
    ]
    assert [name for name in missed if "IsReceivingDirectMail" not in name] == []


def test_a_source_column_is_personal_for_all_fields_of_a_task_or_for_none():
    for task in all_tasks(TEMPLATES):
        both = {name for one in task.fields if not one.personal for name in one.sources} & {*personal_sources(task)}
        assert not both, task.name


def test_a_site_marks_and_unmarks_columns_by_name_and_never_a_key(tmp_path):
    overlay = tmp_path / "site.yaml"
    overlay.write_text(
        "overlay: Contoso\ntasks: {accounts: {fields: {AddressZipCode: {personal: true}, "
        "PrimaryContactFax: {personal: false}}}}\n"
    )
    fields = personal_fields(find_task("accounts", load_templates([overlay])))
    assert "AddressZipCode" in fields and "PrimaryContactFax" not in fields and "PrimaryContactEmail" in fields
    both = "{CustomerAccount: {personal: true}, PartyNumber: {personal: true}}"
    overlay.write_text(f"overlay: Contoso\ntasks: {{accounts: {{fields: {both}}}}}\n")
    with pytest.raises(TemplateError, match=r"is a key, by which rows are named(.|\n)*is made from the key"):
        load_templates([overlay])


def test_a_column_is_unmasked_by_either_name_and_a_typing_slip_is_none():
    by_source = unmasked(TEMPLATES, ["emailaddress1"])
    told = {task.name: set(personal_fields(task)) for task in all_tasks(TEMPLATES)}
    now = {task.name: set(personal_fields(task)) for task in all_tasks(by_source)}
    assert told["contacts"] - now["contacts"] == {"PrimaryEmailAddress"}
    assert told["accounts"] - now["accounts"] == {"PrimaryContactEmail"}
    assert "fax" not in personal_sources(find_task("accounts", unmasked(TEMPLATES, ["PrimaryContactFax"])))
    with pytest.raises(ParameterError, match="no personal column 'emialaddress1'; near: emailaddress1"):
        unmasked(TEMPLATES, ["emialaddress1", "fax"])


# errors -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("is_personal", [True, False])
def test_a_value_of_another_kind_is_quoted_unless_it_is_personal(is_personal):
    task = find_task("accounts", TEMPLATES)
    limit = task.field("CreditLimit").model_copy(update={"personal": is_personal})
    one = task.model_copy(update={"fields": (limit,), "key": {}, "currency": None})
    with pytest.raises(SchemaError, match="1 of 1 rows have a value that is no") as caught:
        project(pl.DataFrame({"CreditLimit": ["4711-0815"]}), one, metadata_of("fno").entities["CustomersV2"])
    assert ("4711-0815" in str(caught.value)) is not is_personal


def test_a_services_words_about_a_row_are_shown_without_its_personal_values(tmp_path):
    cells = {"order": 3, "task": "contacts", "field": "LastName", "before": "Meyer", "after": "Meier"}
    rows = pl.DataFrame([{name: cells.get(name) for name in PLAN_COLUMNS}], schema=PLAN_COLUMNS)
    plan = Plan(tmp_path, rows, {"masked": {"contacts": ["LastName"]}}, "", "", None, pl.DataFrame())
    said = pl.DataFrame({"order": [3], "error": ["Meier of 12 Road"]}, schema={"order": pl.UInt32, "error": pl.String})
    told = masked_words(plan, said, "error")["error"].item()
    assert re.fullmatch(f"{TOKEN} of 12 Road", told)


# a whole run --------------------------------------------------------------------------------------------------------
TASKS = ("accounts", "contacts")
SHIPPED = Path(run.__file__).parent


def planted(number: int) -> dict[str, str]:
    """What a contact is called from now on: words that nothing else has, some of them hard to write in HTML or JSON."""
    return {
        "lastname": f"Quillfeather-{number}",
        "firstname": f'Zénobie "{number}"',
        "description": f"keeps bees & <i>otters</i> {number}",
        "address1_line1": f"{number} O'Wimble Döngel",
        "jobtitle": f"=Snargler({number})",
        "emailaddress1": f"bees{number}@otters.example",
    }


SCRIPT = "<script>alert('p2c')</script><img src=x onerror=alert(2)>"
HARMFUL = [
    SCRIPT,
    '=HYPERLINK("http://example.com";"a")',
    "+cmd|' /C calc'!A0",
    "@SUM(1+9)*cmd|' /C calc'!A0",
    "abc \u202egnp.exe \u2066Ltd",
    "👩‍👩‍👧 مرحبا Ltd",
]
LONG = "lorem <b>ipsum</b> " * 600  # over 10,000 characters


class Site:
    """A sandbox with differences, the command line in this process, and what is personal in it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        counts = {"accounts": 40, "contacts": 60, "products": 5}
        self.pair = Pair(folder / "sandbox", push={"budget_s": 10}, counts=counts, drift=True)
        self.home, self.patch = folder, patch
        variables = {"P2C_HOME": folder, "P2C_SANDBOX_DIR": self.pair.folder, "P2C_LIMITS__PARALLEL": 1}
        for name, value in variables.items():
            patch.setenv(name, str(value))
        with self.pair.clients() as clients:
            contacts = pull(clients["sales"], "contacts", ["msdynce_contactnumber"])["msdynce_contactnumber"]
            accounts = pull(clients["sales"], "accounts", ["accountnumber"])["accountnumber"]
            customers = pull(clients["fno"], "CustomersV2", ["CustomerAccount"])["CustomerAccount"]
        self.contacts = contacts.drop_nulls().unique().sort().to_list()
        self.plant(0)
        both = accounts.filter(accounts.is_in(customers.implode()) & accounts.is_unique()).sort()
        for number, (key, name) in enumerate(
            zip(both, [*HARMFUL, *HARMFUL], strict=False)
        ):  # some are blocked otherwise
            memo = {"description": LONG} if number % 3 == 0 else {}
            self.pair.change("sales", "accounts", {"accountnumber": key}, {"name": name, **memo})

    def plant(self, offset: int) -> None:
        for number, key in enumerate(self.contacts, offset):
            self.pair.change("sales", "contacts", {"msdynce_contactnumber": key}, planted(number))

    def apart(self, *words: object) -> tuple[int, str]:
        """A command in a process of its own: its exit code, and all that it said."""
        command = [sys.executable, "-c", "from p2c_lib.cli import main; main()", *map(str, words)]
        done = subprocess.run(command, cwd=self.home, capture_output=True, text=True, timeout=300, check=False)
        return done.returncode, done.stdout + done.stderr

    def __call__(self, *words: object) -> int:
        self.patch.setattr(sys, "argv", ["p2c", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0)

    def values(self) -> tuple[dict[str, set[str]], str]:
        """Personal values of both systems by column, and everything else that stands in the same sets."""
        hidden: dict[tuple[str, str], set[str]] = {}
        for task in (find_task(name, TEMPLATES) for name in TASKS):
            for side, names in ((task.source, personal_sources(task)), (task.destination, personal_fields(task))):
                hidden.setdefault((side.system, side.entity), {"fullname", "yomifullname"}).update(names)
        personal: dict[str, set[str]] = {}
        other: set[str] = set()
        with self.pair.clients() as clients:
            for (system, entity), names in hidden.items():
                columns = [name for name in clients[system].entity(entity).columns if not name.startswith("_")]
                frame = pull(clients[system], entity, columns).select(pl.all().cast(pl.String))
                for column in frame.iter_columns():
                    found = set(column.drop_nulls())
                    if column.name in names:
                        personal.setdefault(column.name, set()).update(found)
                    else:
                        other |= found
        return personal, "\n".join(sorted(other))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        made = Site(tmp_path_factory.mktemp("site"), patch)
        yield made
        lifecycle.stop(made.pair.folder)


def readable(path: Path) -> Iterator[str]:
    """Whatever can be read out of a file."""
    if path.suffix == ".parquet":
        yield pl.read_parquet(path).select(pl.all().cast(pl.String, strict=False)).write_csv()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as pack:
            yield "\n".join(html.unescape(pack.read(name).decode("utf-8", "replace")) for name in pack.namelist())
    else:
        text = path.read_bytes().decode("utf-8", "replace")
        yield text
        yield html.unescape(text)
        if "\\" in text:  # JSON in JSON, as a notebook's output of a chart
            escaped = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
            yield html.unescape(escaped.replace('\\"', '"').replace("\\\\", "\\"))


def found_in(values: set[str], texts: Iterator[str] | list[str]) -> set[str]:
    """Which of the values stand in a text."""
    wanted = sorted(values)
    told = [pl.Series([text]).str.extract_many(wanted, overlapping=True).explode() for text in texts]
    return set(pl.concat(told).drop_nulls()) if told else set()


def telling(personal: dict[str, set[str]], other: str) -> set[str]:
    """The values that would give somebody away: four characters or more, and nowhere but in personal columns."""
    values = {value for found in personal.values() for value in found if len(value.strip()) >= 4}
    kinds = (".yaml", ".js", ".css", ".py", ".j2")
    files = [path for path in SHIPPED.rglob("*") if path.suffix in kinds and "sandbox" not in path.parts]
    texts = [path.read_text("utf-8") for path in files]
    suites = [path.read_text("utf-8") for path in (SHIPPED.parent / "expectations").glob("*.json")]
    return values - found_in(values, [other, *texts, *suites])


@pytest.mark.timeout(900)
def test_no_personal_value_is_in_any_file_of_a_run_nor_said_by_a_command(site, capfd):
    folder = site.home / "runs" / "all"
    personal, other = site.values()
    values = telling(personal, other)
    told = {name: len(found & values) for name, found in personal.items()}
    assert (
        len(values) > 300
        and min(told[name] for name in ("lastname", "description", "emailaddress1", "telephone1")) > 50
    )

    code, told_apart = site.apart("run", *TASKS, "--out", folder, "--workbook")
    assert code == 1, told_apart
    assert site("plan", folder) == 0
    refused = refuse_one(site, folder, values)
    assert site("apply", folder, "--yes", "--channel", "single") == 1
    site.pair.faults()
    assert site("undo", folder) == 0
    assert site("report", folder) == 0
    assert site("history") == 0
    said = capfd.readouterr()
    assert "refused (1 rows)" in said.out

    table = pl.read_parquet(folder / "outcomes.parquet")
    cells = table.filter(pl.col("field").is_in(personal_fields(find_task("contacts", TEMPLATES))))
    assert cells.filter(pl.col("expected").str.contains(TOKEN)).height > 2
    failed = (folder / "failed.csv").read_text("utf-8")
    assert re.search(f"'{TOKEN}' is not allowed", failed) and refused not in failed

    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".parquet", ".json", ".html", ".ipynb", ".csv"} and len(files) > 30
    leaks = {str(path.relative_to(folder)): some for path in files if (some := found_in(values, readable(path)))}
    assert leaks == {}
    assert found_in(values, [told_apart, said.out, said.err]) == set()
    history = [path for path in (site.pair.folder / "store").rglob("*.parquet") if "Outcome" in str(path)]
    assert history and not [path for path in history if found_in(values, readable(path))]
    kept = [text for path in working_folder(folder).rglob("*.parquet") for text in readable(path)]
    assert len(found_in(values, kept)) > 100  # the search finds them where they are


def refuse_one(site: Site, folder: Path, values: set[str]) -> str:
    """Have F&O refuse the first contact that is changed, and quote a personal value of it; gives that value."""
    rows = write.read_plan(folder).rows.filter(pl.col("held").is_null() & (pl.col("task") == "contacts"))
    orders = rows["order"].unique(maintain_order=True).to_list()
    mine = rows.filter(pl.col("after").is_in(list(values)) & pl.col("field").is_in(["LastName", "PrimaryEmailAddress"]))
    order, value = mine.select("order", "after").row(0)
    method = {"create": "POST", "update": "PATCH"}
    actions = dict(rows.select("order", "action").unique("order").iter_rows())
    before = [one for one in orders if one < order and actions[one] == actions[order]]
    fault = {
        "kind": "error",
        "system": "fno",
        "path": "CDSContactPersons",
        "method": method[actions[order]],
        "status": 400,
    }
    site.pair.faults({**fault, "after": len(before), "first": 1, "message": f"'{value}' is not allowed"})
    return str(value)


def test_a_column_that_is_unmasked_by_name_shows_its_values_and_no_other_does(site):
    folder = site.home / "runs" / "unmasked"
    site.plant(1000)  # so that they differ
    personal, other = site.values()
    shown = {"emailaddress1", "PrimaryEmailAddress", "PrimaryContactEmail"}
    mails = {value for name in shown for value in personal[name]}
    values = telling({name: found for name, found in personal.items() if name not in shown}, other + "\n".join(mails))
    assert site("run", *TASKS, "--out", folder, "--no-notebooks", "--unmask", "emailaddress1") == 1
    texts = [text for path in folder.rglob("*") if path.is_file() for text in readable(path)]
    assert len(found_in({mail for mail in mails if len(mail) > 8}, texts)) > 2
    assert found_in(values, texts) == set()
    assert json.loads((folder / "run.json").read_text("utf-8"))["unmask"] == ["emailaddress1"]


def test_equal_values_have_equal_tokens_in_both_systems(site):
    place = working_folder(site.home / "runs" / "unmasked") / "tasks" / "contacts"
    ours = pl.read_parquet(place / "source.parquet")["telephone1"].drop_nulls()
    theirs = pl.read_parquet(place / "found.parquet")["PrimaryPhoneNumber"].drop_nulls()
    masker = site_masker()
    tokens = set(masker.series(ours)) & set(masker.series(theirs))
    assert len(tokens) > 5 and len(tokens) == len(set(ours) & set(theirs))


@pytest.mark.timeout(900)
def test_harmful_values_are_shown_as_text_in_whatever_a_run_leaves(site):
    folder = site.home / "runs" / "all"
    if not folder.exists():
        site.apart("run", *TASKS, "--out", folder)
    cells = pl.read_parquet(folder / "outcomes.parquet").filter(field="OrganizationName")
    shown = {name for name in HARMFUL if cells["expected"].str.contains(name, literal=True).any()}
    assert len(shown) >= 4 and SCRIPT in shown
    memos = pl.read_parquet(folder / "outcomes.parquet").filter(field="SalesMemo")["expected"]
    assert memos.str.len_chars().max() >= 10_000
    pages = {path: path.read_text("utf-8") for path in folder.rglob("*.html")}
    notebooks = [json.loads(path.read_text("utf-8")) for path in folder.rglob("*.ipynb")]
    outputs = [shown["data"] for book in notebooks for cell in book["cells"] for shown in cell.get("outputs", ())
               if "data" in shown]  # fmt: skip
    pages |= {number: "".join(data["text/html"]) for number, data in enumerate(outputs) if "text/html" in data}
    assert len(pages) > 20
    for where, page in pages.items():
        assert "<script>alert" not in page and "<img src=x" not in page and "lorem <b>" not in page, where
        assert len(page) < 3_000_000, where
    read = html.unescape("".join(pages.values()))
    assert any(name in read for name in shown) and "lorem <b>ipsum</b>" in read


@pytest.mark.parametrize("value", [*HARMFUL, " =1+1", "\t=1", "\r\n+1", "-2+3", "'=1", "x", "-5.00", "", None])
def test_no_text_of_a_file_for_spreadsheets_begins_like_a_formula_and_all_are_read_back(value):
    frame = pl.DataFrame({"key": [value]}, schema={"key": pl.String})
    (kept,) = guarded(frame)["key"]
    assert kept is None or not re.match(r"\s*[=+\-@\t\r]", kept) or re.fullmatch(r"-?\d+(\.\d+)?", kept)
    assert unguarded(guarded(frame)).equals(frame)


def test_a_value_does_not_steer_the_terminal_nor_turn_the_reading_order(capsys):
    print_rows([{"key": "a\x1b[2Jb\u202ec", "said": "[red]x[/red]"}])
    told = capsys.readouterr().out
    assert "\x1b[2J" not in told and "\u202e" not in told and "[red]x[/red]" in told
