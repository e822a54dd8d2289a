"""Entries of value maps, accepted by a person, written into a site's overlay file.

The file is edited as text with a structure (ruamel.yaml): comments, order and everything else in it stay. What came
out is read again by the reader of templates before anything is written: nothing but the entries may have changed, and
the whole set of templates must be sound with it.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, ScalarString

from p2c_lib.connect import Column
from p2c_lib.errors import ParameterError, TemplateError
from p2c_lib.model import Template, all_tasks, load_templates, read_constant
from p2c_lib.model.overlays import Node, Sources, read

__all__ = ["Accepted", "Entry", "accept", "entries_from", "entry_of", "overlay_for"]

_HEAD = "# Entries of value maps accepted in the workshop (p2c values). May be edited by hand.\noverlay: value maps\n"
_CSV = ("value_map", "value", "target")
_UNQUOTED = ("true", "false", "null", "~")


@dataclass(frozen=True)
class Entry:
    """One entry of a value map: a source value, trimmed and in lower case, and what it becomes."""

    value_map: str
    value: str
    target: str

    def __str__(self) -> str:
        return f"{self.value_map}:{self.value}={self.target}"


@dataclass(frozen=True)
class Accepted:
    """What `accept` wrote.

    Attributes:
        file: The overlay file.
        written: The entries that are new there, or another than before.
        known: Those that were in force already; nothing was written for them.
        is_named: Whether the profile names the file; one that is not named has no effect on runs.
    """

    file: Path
    written: tuple[Entry, ...]
    known: tuple[Entry, ...]
    is_named: bool

    def says(self) -> str:
        """In words, with what is left to do."""
        told = f"{len(self.written)} entries written to {self.file}"
        told += f", {len(self.known)} were in force already" if self.known else ""
        if self.is_named:
            return f"{told}; they count from the next run on"
        return f'{told}; name it in p2c.toml so that runs take it: overlays = ["{self.file.name}"]'


def entry_of(text: str) -> Entry:
    """Read ``MAP:VALUE=TARGET``; the value may hold ``:`` and ``=``, the target no ``=``.

    Raises:
        ParameterError: It is not of that form.
    """
    name, colon, rest = text.partition(":")
    value, equals, target = rest.rpartition("=")
    if not colon or not equals or not name.strip() or not target.strip():
        raise ParameterError(f"'{text}' is no entry; write MAP:VALUE=TARGET, e.g. country_to_iso:switzerland=CH")
    return Entry(name.strip(), value.strip().lower(), target.strip())


def entries_from(path: Path) -> list[Entry]:
    """Read entries from a CSV file with the columns ``value_map``, ``value``, ``target``; a line without a target is
    not decided yet and left out.

    Raises:
        ParameterError: The file cannot be read, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            missing = [name for name in _CSV if name not in (reader.fieldnames or ())]
            if missing:
                raise ParameterError(f"{path}: lacks the column {', '.join(missing)}; needed: {', '.join(_CSV)}")
            rows = [{name: (row[name] or "").strip() for name in _CSV} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ParameterError(f"{path}: cannot be read: {error}") from None
    return [Entry(row["value_map"], row["value"].lower(), row["target"]) for row in rows if row["target"]]


def overlay_for(overlays: Sequence[Path], home: Path) -> Path:
    """The file that entries go to when none is named: the profile's last overlay, else ``value_maps.yaml`` at home."""
    return overlays[-1] if overlays else home / "value_maps.yaml"


def accept(
    entries: Iterable[Entry],
    file: Path,
    overlays: Sequence[Path] = (),
    *,
    replace: bool = False,
    columns: Mapping[str, Sequence[Column]] | None = None,
) -> Accepted:
    """Write entries into an overlay file; it is whole and sound, or as it was.

    Args:
        entries: What to write.
        file: The overlay; made when it is not there.
        overlays: The profile's, in order. When the file is not among them, it is taken as the last.
        replace: Whether an entry that has another target now may be given this one.
        columns: For a value map, the columns that it fills: a target must fit all of them.

    Returns:
        What was written.

    Raises:
        ParameterError: An entry is of no map, twice with two targets, in force with another target, or one that the
            column cannot hold; all of them together.
        TemplateError: The file, or the templates with it, are not sound; with every problem of every file.
    """
    named = any(_same(file, path) for path in overlays)
    order = [*overlays] if named else [*overlays, file]
    before = load_templates([path for path in order if path.exists() or not _same(path, file)], route=None)
    asked = list(dict.fromkeys(entries))
    new, known = _sorted_out(asked, before, replace, columns or {})
    if new:
        old = _text(file)
        text = _edited(old if old is not None else _HEAD, new, file)
        with _draft(text, file) as draft:
            _check(text, old if old is not None else _HEAD, new, file)
            try:
                load_templates([draft if _same(path, file) else path for path in order], route=None)
            except TemplateError as error:
                raise TemplateError([line.replace(str(draft), str(file)) for line in error.problems]) from None
            if _text(file) != old:
                raise ParameterError(f"{file}: was changed by somebody else just now; nothing was written, try again")
            draft.replace(file)
    return Accepted(file, tuple(new), tuple(known), named)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _text(file: Path) -> str | None:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"{file}: cannot be read: {error}") from None


def _sorted_out(
    asked: Sequence[Entry], templates: Mapping[str, Template], replace: bool, columns: Mapping[str, Sequence[Column]]
) -> tuple[list[Entry], list[Entry]]:
    """The entries that are new, and those that are in force already."""
    maps = {name: one.entries for task in all_tasks(templates) for name, one in task.value_maps.items()}
    problems, new, known = [], [], []
    targets: dict[tuple[str, str], str] = {}
    for entry in asked:
        if entry.value_map not in maps:
            problems.append(f"{entry}: no value map '{entry.value_map}'; known: {', '.join(sorted(maps))}")
            continue
        if targets.setdefault((entry.value_map, entry.value), entry.target) != entry.target:
            problems.append(f"{entry}: given twice, the other time with '{targets[entry.value_map, entry.value]}'")
        now = maps[entry.value_map].get(entry.value)
        problems += [f"{entry}: {why}" for why in _misfits(entry.target, columns.get(entry.value_map, ()))]
        if now == entry.target:
            known.append(entry)
        elif now is not None and not replace:
            problems.append(f"{entry}: is '{now}' now; say that it is to be replaced, or leave it")
        else:
            new.append(entry)
    if problems:
        raise ParameterError("\n".join(problems))
    return new, known


def _misfits(target: str, columns: Sequence[Column]) -> Iterator[str]:
    """Why a target cannot stand in the columns that its map fills."""
    for column in dict.fromkeys(columns):
        if column.enum and target not in column.enum:
            yield f"{column.name} holds no '{target}'; known: {', '.join(column.enum)}"
            continue
        try:
            read_constant(target, column.edm_type)
        except ValueError as error:
            yield f"{column.name}: {error}"
        if column.edm_type == "Edm.String" and column.max_length is not None and len(target) > column.max_length:
            yield f"{column.name} holds {column.max_length} characters, '{target}' has {len(target)}"


def _edited(text: str, entries: Sequence[Entry], file: Path) -> str:
    """The text with the entries in it, all else as it stands."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000  # lines are broken where the file breaks them, and nowhere else
    try:
        data = yaml.load(text)
    except Exception as error:  # whatever it stumbles over, the file is not ours to mend
        raise TemplateError([f"{file}: not YAML: {error}"]) from None
    if not isinstance(data, CommentedMap) or "template" in data:
        raise TemplateError([f"{file}: is no overlay (it must begin with 'overlay: name'); name another file"])
    maps = _below(data, "value_maps", file)
    for entry in entries:
        into = _below(_below(maps, entry.value_map, file), "entries", file)
        key = next((key for key in into if _as_key(key) == entry.value), _scalar(entry.value))
        into[key] = _scalar(entry.target)
    out = io.StringIO()
    yaml.dump(data, out)
    return out.getvalue()


def _below(data: CommentedMap, key: str, file: Path) -> CommentedMap:
    if data.get(key) is None:
        data[key] = CommentedMap()
    below = data[key]
    if not isinstance(below, CommentedMap):
        raise TemplateError([f"{file}: {key}: must be entries by name, 'name: {{...}}'"])
    return below


def _as_key(key: Any) -> str:
    return "" if key is None else str(key).lower() if isinstance(key, bool) else str(key)


def _scalar(text: str) -> str | ScalarString:
    """A text that every reader of YAML takes as one: Norway's NO is no ``false``, 007 no number."""
    plain = text.isascii() and text.replace(" ", "").isalpha() and text.lower() not in _UNQUOTED
    is_word = plain and text.lower() not in ("y", "n", "yes", "no", "on", "off") and text == text.strip()
    return text if is_word else DoubleQuotedScalarString(text)


def _check(text: str, old: str, entries: Sequence[Entry], file: Path) -> None:
    """Refuse a text that is not the old one with the entries and nothing else."""
    sources = Sources()
    now, before = read(text, str(file), sources), read(old, str(file), sources)
    if sources.problems or now is None or before is None:
        raise TemplateError(sources.problems)
    wanted = _plain(before)
    for entry in entries:
        holder = wanted
        for key in ("value_maps", entry.value_map, "entries"):
            holder[key] = holder.get(key) or {}
            holder = holder[key]
        holder.pop(next((key for key in holder if _as_key(key) == entry.value), None), None)
        holder[entry.value] = entry.target
    if _texts(_plain(now)) != _texts(wanted):
        raise TemplateError(
            [f"{file}: cannot be edited without changing something else in it; add the entries by hand"]
        )


def _plain(data: Any) -> Any:
    if isinstance(data, Node | dict):
        return {key: _plain(value) for key, value in data.items()}
    return [_plain(value) for value in data] if isinstance(data, list) else data


def _texts(data: Any) -> Any:
    """The same with every key as text, so that ``1`` and ``"1"`` are one key."""
    if isinstance(data, dict):
        return {_as_key(key): _texts(value) for key, value in data.items()}
    return [_texts(value) for value in data] if isinstance(data, list) else data


@contextmanager
def _draft(text: str, file: Path) -> Iterator[Path]:
    """A file beside another that is gone afterwards, unless it has taken the other's place."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.stem}-", suffix=".yaml")
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        Path(name).chmod(file.stat().st_mode & 0o777 if file.exists() else 0o644)
    except OSError as error:
        raise ParameterError(f"{file}: cannot be written: {error.strerror}") from None
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
