"""Entries of value maps in a site's overlay file: all else in it stays, and it is sound or as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2c_lib import overlay_file
from p2c_lib.connect import Column
from p2c_lib.errors import ParameterError, TemplateError
from p2c_lib.model import all_tasks, load_templates
from p2c_lib.model.overlays import Sources, read
from p2c_lib.overlay_file import Entry, accept, entries_from, entry_of, overlay_for

SITE = """\
# Contoso's own file
overlay: Contoso

value_maps:
  country_to_iso: {entries: {switzerland: CH, japan: null}} # after the meeting of May
tasks:
  accounts:
    fields:
      CustomerGroupId: {value: "030"}   # group of the dealers
      SalesMemo: drop
"""


@pytest.fixture
def site(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(SITE, "utf-8")
    return path


def entries(path: Path, name: str = "country_to_iso") -> dict[str, str]:
    tasks = all_tasks(load_templates((path,), route=None))
    return dict(next(task.value_maps[name].entries for task in tasks if name in task.value_maps))


def test_an_entry_is_added_and_every_other_word_of_the_file_stays(site):
    done = accept([Entry("country_to_iso", "norway", "NO")], site, (site,))
    assert done.is_named and [str(entry) for entry in done.written] == ["country_to_iso:norway=NO"]
    old = "{switzerland: CH, japan: null}"
    assert site.read_text("utf-8") == SITE.replace(old, '{switzerland: CH, japan: null, norway: "NO"}')
    assert entries(site)["norway"] == "NO"


def test_a_file_that_is_not_there_is_made_and_what_to_do_with_it_is_said(tmp_path):
    path = tmp_path / "below" / "value_maps.yaml"
    done = accept([Entry("country_to_iso", "österreich", "AT"), Entry("gender", "3", "Unknown")], path)
    assert not done.is_named and 'overlays = ["value_maps.yaml"]' in done.says()
    assert entries(path)["österreich"] == "AT" and entries(path, "gender")["3"] == "Unknown"
    assert [one.name for one in path.parent.iterdir()] == ["value_maps.yaml"]


def test_an_entry_that_was_taken_away_comes_back_under_its_own_key(site):
    accept([Entry("country_to_iso", "japan", "JP")], site, (site,))
    assert "japan: JP" in site.read_text("utf-8") and entries(site)["japan"] == "JP"


def test_what_is_in_force_already_is_not_written_again(site):
    done = accept(
        [Entry("country_to_iso", "switzerland", "CH"), Entry("country_to_iso", "germany", "DE")], site, (site,)
    )
    assert (len(done.written), len(done.known)) == (0, 2)
    assert site.read_text("utf-8") == SITE


def test_all_faults_are_told_together_and_nothing_is_written(site):
    column = Column("Gender", "Microsoft.Gender", enum=("Unknown", "Male", "Female"))
    wrong = [
        Entry("country_to_iso", "switzerland", "XX"),
        Entry("countries", "norway", "NO"),
        Entry("gender", "4", "Other"),
        Entry("country_to_iso", "spain", "ES"),
        Entry("country_to_iso", "spain", "SP"),
    ]
    with pytest.raises(ParameterError) as caught:
        accept(wrong, site, (site,), columns={"gender": [column]})
    said = str(caught.value).splitlines()
    assert len(said) == 4
    for words in ("is 'CH' now", "no value map 'countries'", "holds no 'Other'; known: Unknown", "given twice"):
        assert any(words in line for line in said), words
    assert site.read_text("utf-8") == SITE
    assert accept(wrong[:1], site, (site,), replace=True).written and entries(site)["switzerland"] == "XX"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("overlay: x\nvalue_maps: [a, b]\n", "value_maps: must be entries", id="another shape"),
        pytest.param("template: x\ntitle: y\n", "must be given", id="a template"),
        pytest.param("overlay: x\ntasks: {accounts: {fields: {Nothing: drop}}}\n", "no field 'Nothing'", id="unsound"),
        pytest.param("overlay: x\nnote: a\nnote: b\n", "twice", id="a key twice"),
    ],
)
def test_a_file_that_is_not_sound_is_refused_and_left(tmp_path, text, words):
    path = tmp_path / "site.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(TemplateError, match=words):
        accept([Entry("country_to_iso", "norway", "NO")], path, (path,))
    assert path.read_text("utf-8") == text
    assert [one.name for one in tmp_path.iterdir()] == ["site.yaml"]


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(value=TEXTS, target=TEXTS)
def test_any_text_comes_back_from_the_file_as_it_was_accepted(value, target):
    entry = Entry("map", value.strip().lower(), target)
    text = overlay_file._edited(SITE, [entry], Path("site.yaml"))
    overlay_file._check(text, SITE, [entry], Path("site.yaml"))  # nothing else has changed
    read_back = read(text, "site.yaml", Sources())
    assert {str(key): one for key, one in read_back["value_maps"]["map"]["entries"].items()} == {entry.value: target}


def test_entries_are_read_from_words_and_from_a_list(tmp_path):
    assert entry_of("m: A:b=c =D ") == Entry("m", "a:b=c", "D")
    with pytest.raises(ParameterError, match="MAP:VALUE=TARGET"):
        entry_of("switzerland=CH")
    path = tmp_path / "list.csv"
    path.write_text("value_map,value,target,rows\nm,Schweiz,CH,4\nm,undecided,,1\n", "utf-8")
    assert entries_from(path) == [Entry("m", "schweiz", "CH")]
    path.write_text("map,value\n", "utf-8")
    with pytest.raises(ParameterError, match="value_map, target"):
        entries_from(path)
    assert overlay_for((), tmp_path) == tmp_path / "value_maps.yaml"
