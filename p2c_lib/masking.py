"""Personal values shown as tokens: by a keyed hash, so that equal values stay visibly equal and nothing else is told.

A field is personal where its template or an overlay says so (``personal``). Frames to compare, plan and send from hold
the values as they are, apart from what is handed over (`p2c_lib.places`); everything that people are shown is masked.
A token is the same for the same text in both systems, in every column and in every run of a site, as its key is.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from p2c_lib.config import home
from p2c_lib.errors import ConfigError, ParameterError
from p2c_lib.model import Task, Template

__all__ = ["TOKEN", "Masker", "names_of", "personal_fields", "personal_sources", "site_masker", "unmasked"]

TOKEN = r"masked:[0-9a-f]{16}"
"""Of 64 bits: among a million different values two share a token with a chance of 1 in 37 million."""

_KEY_BYTES = 32
_SHORTEST = 16
_WHOLE = 3  # characters; a shorter value is replaced in a text only where it stands in quotes


class _Environment(BaseSettings):
    """``P2C_MASKING__KEY``."""

    model_config = SettingsConfigDict(env_prefix="P2C_MASKING__", extra="ignore")

    key: SecretStr | None = None


@dataclass(frozen=True)
class Masker:
    """Makes tokens with a key, which is in no repr.

    Attributes:
        key: Any bytes; who has it can tell whether a guessed value is behind a token.
    """

    key: bytes = field(repr=False)

    def text(self, value: str) -> str:
        """The token of a text; the empty text stays, as it tells of nobody."""
        if not value:
            return value
        return "masked:" + hmac.digest(self.key, value.encode(), hashlib.sha256)[:8].hex()

    def series(self, values: pl.Series) -> pl.Series:
        """The tokens of texts; null stays null and "" stays "". Each distinct text is hashed once."""
        distinct = values.drop_nulls().unique()
        told = pl.DataFrame(
            {"value": distinct, "token": [self.text(value) for value in distinct.to_list()]},
            schema={"value": pl.String, "token": pl.String},
        )
        joined = pl.DataFrame({"value": values}, schema={"value": pl.String})
        return joined.join(told, on="value", how="left", maintain_order="left")["token"].alias(values.name)

    def cells(self, frame: pl.DataFrame, personal: Mapping[str, Collection[str]], *columns: str) -> pl.DataFrame:
        """Mask columns of a long frame where a row is about a personal field.

        Args:
            frame: With ``task`` and ``field`` (String, as in `personal`), and the columns, String.
            personal: Personal fields by task.
            columns: What to mask.

        Returns:
            The frame, same shape and order.
        """
        pairs = [(task, name) for task, names in personal.items() for name in names]
        known = pl.DataFrame(pairs, schema={"task": pl.String, "field": pl.String}, orient="row").unique()
        marks = frame.select("task", "field").join(
            known.with_columns(is_personal=True), on=["task", "field"], how="left", maintain_order="left"
        )
        is_personal = marks["is_personal"].fill_null(False)
        if not is_personal.any():
            return frame
        numbers = is_personal.arg_true()
        return frame.with_columns(
            frame[name].cast(pl.String).scatter(numbers, self.series(frame[name].cast(pl.String).gather(numbers)))
            for name in columns
        )

    def words(self, texts: pl.DataFrame, values: pl.DataFrame, *columns: str) -> pl.DataFrame:
        """Replace a row's own personal values in texts about it, such as what a service said when it refused it.

        Args:
            texts: With ``order``, which names the row, and the columns, String.
            values: ``order`` and ``value`` (String): the personal values of the rows, any number for each.
            columns: What to look through.

        Returns:
            The texts, same shape and order. Longer values are replaced before shorter ones.
        """
        named = (
            values.filter(pl.col("value").str.strip_chars() != "")
            .unique()
            .sort("order", pl.col("value").str.len_chars(), "value", descending=[False, True, False])
            .with_columns(turn=pl.int_range(pl.len()).over("order"))
        )
        named = named.join(texts.select("order").unique(), on="order", how="semi")
        named = named.with_columns(token=self.series(named["value"]))
        for turn in named["turn"].unique().sort():
            mine = named.filter(pl.col("turn") == turn).select("order", "value", "token")
            joined = texts.join(mine, on="order", how="left", maintain_order="left")
            whole = joined.with_columns(_replaced(name) for name in columns)
            texts = whole.select(texts.columns)
        return texts

    def plain(self, value: Any) -> Any:
        """Mask all texts, numbers and dates in a JSON value, in lists and entries; null, true and false stay."""
        if isinstance(value, Mapping):
            return {name: self.plain(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(part) for part in value]
        return value if value is None or isinstance(value, bool) else self.text(str(value))


def _replaced(name: str) -> pl.Expr:
    """A column with ``value`` replaced by ``token`` where it stands in it."""
    text, token = pl.col(name), pl.col("token")
    whole = text.str.split(pl.col("value")).list.join(token)
    quoted = text
    for mark in ("'", '"'):
        shut = pl.concat_str(pl.lit(mark), pl.col("value"), pl.lit(mark))
        quoted = quoted.str.split(shut).list.join(pl.concat_str(pl.lit(mark), token, pl.lit(mark)))
    found = pl.when(pl.col("value").str.len_chars() >= _WHOLE).then(whole).otherwise(quoted)
    return pl.when(pl.col("value").is_null() | text.is_null()).then(text).otherwise(found).alias(name)


def site_masker() -> Masker:
    """The masker of this site: its key is ``P2C_MASKING__KEY``, else ``.p2c/masking.key`` at home, made when needed.

    Raises:
        ConfigError: The key is shorter than 16 characters, or its file cannot be read or made.
    """
    named = _Environment().key
    key = named.get_secret_value().encode() if named else _key_of_file(home() / ".p2c" / "masking.key")
    if len(key) < _SHORTEST:
        place = "P2C_MASKING__KEY" if named else str(home() / ".p2c" / "masking.key")
        raise ConfigError(f"{place}: a key to mask with needs {_SHORTEST} characters or more")
    return Masker(key)


def _key_of_file(path: Path) -> bytes:
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            draft.touch(mode=0o600, exist_ok=False)
            draft.write_text(secrets.token_hex(_KEY_BYTES), "utf-8")
            try:
                with contextlib.suppress(FileExistsError):  # another process was first: its key holds
                    os.link(draft, path)
            finally:
                draft.unlink()
        return path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{path}: the key to mask personal values with: {error.strerror}") from None


def personal_fields(task: Task) -> list[str]:
    """The destination columns of a task that are personal, in its order."""
    return [one.destination for one in task.fields if one.personal]


def personal_sources(task: Task) -> list[str]:
    """The source columns that personal fields of a task are made from, each once; a key is none."""
    read = dict.fromkeys(name for one in task.fields if one.personal for name in one.reads)
    return [name for name in read if name not in task.key.values()]


def names_of(text: str) -> tuple[str, ...]:
    """The names in a text with commas between: ``emailaddress1, fax``."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def unmasked(
    templates: Mapping[str, Template], names: Sequence[str], known: Iterable[Template] | None = None
) -> dict[str, Template]:
    """Take the mask off columns, by name.

    Args:
        templates: As loaded.
        names: Columns of source or destination.
        known: Templates in whose tasks a name may stand; default those.

    Returns:
        The templates; fields that a named column is the source or the destination of are personal no more.

    Raises:
        ParameterError: A name is no personal column; with near ones.
    """
    personal: set[str] = set()
    for template in known if known is not None else templates.values():
        for task in template.tasks:
            personal |= {*personal_fields(task), *personal_sources(task)}
    problems = []
    for name in names:
        if name not in personal:
            near = get_close_matches(name, personal, n=3)
            problems.append(f"no personal column '{name}'" + (f"; near: {', '.join(near)}" if near else ""))
    if problems:
        raise ParameterError("unmask: " + "; ".join(problems))
    return (
        {key: _without_masks(template, set(names)) for key, template in templates.items()} if names else {**templates}
    )


def _without_masks(template: Template, names: set[str]) -> Template:
    tasks = []
    for task in template.tasks:
        fields = [
            one.model_copy(update={"personal": False})
            if one.personal and names & {one.destination, *one.reads}
            else one
            for one in task.fields
        ]
        tasks.append(task.model_copy(update={"fields": tuple(fields)}))
    return template.model_copy(update={"tasks": tuple(tasks)})
