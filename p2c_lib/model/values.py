"""The smaller parts of templates: value maps, conditions on rows, and what a template is known to do oddly."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict

if TYPE_CHECKING:
    from p2c_lib.connect.metadata import Column

__all__ = ["Condition", "Confidence", "Part", "Quirk", "Quirks", "System", "Text", "ValueMap", "as_entries", "as_list"]

System = Literal["sales", "fno", "cds"]
Confidence = Literal["confirmed", "indirect", "inferred"]
Op = Literal["eq", "ne", "is_blank", "not_blank", "in"]


def _as_text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


def as_entries(value: Any) -> Any:
    """Keys as text too: ``true: Yes`` and ``1: Male`` are written without quotes, a blank key is the empty text."""
    if not isinstance(value, Mapping):
        return value
    return {"" if key is None else _as_text(key): entry for key, entry in value.items()}


def as_list(value: Any) -> Any:
    """One part as a list of one."""
    return (value,) if isinstance(value, Mapping) else value


Text = Annotated[str, BeforeValidator(_as_text)]


class Part(BaseModel):
    """Frozen, and with no entry that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Quirk(Part):
    """Something odd that a template is known to do. Who finds the destination otherwise has found no error.

    Attributes:
        name: The same on all fields that it concerns.
        says: What is odd, in words.
        instead: The source column that one would expect, copied as it is.
        entries: The entries that one would expect in the value map; the key ``""`` is the value for a blank source.
        own: The destination has a value of its own there, always or where the template gives a blank; what it is cannot
            be told from here, so whatever it is counts as the quirk's doing. ``less``: an amount nearer to 0 than the
            template's; one that is further from it is not the quirk's doing.
        where: Of ``own``: the source column of an amount without which there is nothing odd (null or 0).

    A quirk with none of these touches every row, and what one would expect instead is not known.
    """

    name: str
    says: str
    instead: str | None = None
    entries: Annotated[dict[str, Text], BeforeValidator(as_entries)] = {}
    own: Literal["always", "blank", "less"] | None = None
    where: str | None = None


Quirks = Annotated[tuple[Quirk, ...], BeforeValidator(as_list)]


class ValueMap(Part):
    """A table from source values to destination values; keys are compared trimmed and in lower case.

    The key ``""`` is the value for a blank source. A source value without an entry is *unmapped*. Its quirks are those
    of all fields that use it. ``names`` says that its values are names or codes of countries or currencies, so that
    entries can be proposed from ISO 3166 or 4217; it maps nothing.
    """

    name: str
    entries: Annotated[dict[str, Text], BeforeValidator(as_entries)]
    names: Literal["countries", "currencies"] | None = None
    quirk: Quirks = ()
    confidence: Confidence = "confirmed"
    note: str = ""


class Condition(Part):
    """One line of a filter: a column, a question about it, and the reason in words when the answer is no."""

    name: str
    column: str
    op: Op = "eq"
    value: bool | int | str | tuple[bool | int | str, ...] | None = None
    says: str = ""
    confidence: Confidence = "confirmed"

    def expr(self) -> pl.Expr:
        """The condition over a frame that has the column.

        Returns:
            Boolean, never null. A null equals no value; texts are compared as both services compare them, without
            regard to case and to blanks at the end.
        """
        if self.op in ("is_blank", "not_blank"):
            blank = pl.col(self.column).cast(pl.String).str.strip_chars().fill_null("") == ""
            return blank if self.op == "is_blank" else ~blank
        same = reduce(or_, (self._equals(value) for value in self.values))
        return ~same if self.op == "ne" else same

    @property
    def words(self) -> str:
        """The condition as people read it: ``statecode = 0``, ``status in a, b``, ``name is not blank``."""
        if self.op in ("is_blank", "not_blank"):
            return f"{self.column} is {'not ' if self.op == 'not_blank' else ''}blank"
        sign = {"eq": "=", "ne": "is not", "in": "in"}.get(self.op, self.op)
        return f"{self.column} {sign} {', '.join(map(str, self.values))}"

    @property
    def values(self) -> tuple[bool | int | str, ...]:
        """The values asked for: one for ``eq`` and ``ne``, any number for ``in``."""
        if isinstance(self.value, tuple):
            return self.value
        return () if self.value is None else (self.value,)

    def _equals(self, value: bool | int | str) -> pl.Expr:
        column = pl.col(self.column)
        if isinstance(value, str):
            column = column.str.strip_chars_end().str.to_lowercase()
            value = value.rstrip().lower()
        return (column == pl.lit(value)).fill_null(False)

    def odata(self, column: Column, system: System) -> str | None:
        """The condition as an OData ``$filter``, to fetch less.

        Args:
            column: The column as the live metadata describes it.
            system: Whose dialect; F&O has the empty text where Sales has null.

        Returns:
            The filter, or None where the service cannot say it (a path over a lookup; the store, which takes
            expressions): fetch all and use `expr`.
            What it lets through is never less than what `expr` lets through.
        """
        from p2c_lib.connect.literals import literal  # the connection layer is heavy, and needed for this alone

        if system == "cds" or "." in self.column or column.name != self.column:
            return None
        name, text = self.column, column.edm_type == "Edm.String"
        nothing = f"{name} eq ''" if system == "fno" and text else f"{name} eq null"
        if system == "fno" and not text and self.op in ("is_blank", "not_blank"):
            return None  # neither numbers nor enums are ever null there
        if self.op == "is_blank":
            return f"({nothing} or {name} eq '')" if text and system == "sales" else nothing
        if self.op == "not_blank":
            return nothing.replace(" eq ", " ne ")
        asked = [f"{name} {'ne' if self.op == 'ne' else 'eq'} {literal(v, column.edm_type)}" for v in self.values]
        if self.op == "ne" and system == "sales":
            return f"({asked[0]} or {nothing})"  # a null is not equal to the value, yet SQL lets it through nowhere
        return asked[0] if len(asked) == 1 else f"({' or '.join(asked)})"
