"""What a template says, as frozen objects: Template, Task, Side, FieldMap, Parent, TieOut."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from p2c_lib.model.values import Condition, Confidence, Part, Quirk, Quirks, System, Text, ValueMap, as_entries, as_list

Route = Literal["direct", "cds"]
MapKind = Literal["copy", "default", "default_if_blank", "value_map", "transform"]
Normaliser = Literal["trim", "case", "blank", "date"]
Role = Literal["sync", "computed", "worth", "unfilled"]
Setting = Literal["organization"]

USES: Mapping[str, frozenset[str]] = {
    "copy": frozenset({"source"}),
    "default": frozenset({"value"}),
    "default_if_blank": frozenset({"source", "value"}),
    "value_map": frozenset({"source", "value_map", "blank_default"}),
    "transform": frozenset({"source", "transform"}),
}
"""What each kind of field map reads; all but ``blank_default`` must be given, and nothing of another kind may be."""

TRANSFORMS: Mapping[str, str] = {
    "upper": "upper",
    "lower": "lower",
    "strip": "strip",
    "round_half_away": "round_half_away(2)",
    "sum": "sum(LineAmount, TotalTaxAmount)",
    "difference": "difference(TotalTaxAmount, HeaderTaxAmount)",
}
"""The transforms a field can name, each with an example: of a text, of a number with its decimal places, or of two or
more amounts of one row, the first of which is the field's source. A blank amount counts as 0 beside one that is not."""

COMBINING = ("sum", "difference")

_STEP = re.compile(r"([a-z_]+)(?:\((.*)\))?")


def _as_amount(value: Any) -> Any:
    if isinstance(value, float):
        raise ValueError(f"a binary number is not exact; write the text '{value}'")
    return value


Amount = Annotated[Decimal, BeforeValidator(_as_amount), Field(ge=0, allow_inf_nan=False)]


class Side(Part):
    """One end of a task: a system, an entity set of it, and which of its rows are the task's business.

    Attributes:
        system: sales, fno, or cds, the store between the two.
        entity: The entity set.
        label: As people call it.
        only: Of the destination: rows that fail one of these are never read, so that they pair with nothing.
        scope: Of the destination: a row that fails one of these counts only if a source row has its key.
        as_long_as: Of the destination: as long as these hold the source is the master. A row that fails one is left
            alone, and so are the source rows with its key (of a task of lines: of its document), which are excluded.
    """

    system: System
    entity: str
    label: str = ""
    only: tuple[Condition, ...] = ()
    scope: tuple[Condition, ...] = ()
    as_long_as: tuple[Condition, ...] = ()

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All of them."""
        return *self.scope, *self.only, *self.as_long_as


class Parent(Part):
    """A row that must be at the destination first: its entity set and column, and the task that brings it.

    No task brings what the destination itself is master of.
    """

    entity: str
    column: str
    task: str | None = None


class Step(NamedTuple):
    """One step of a transform: its name, and what stands in its brackets."""

    name: str
    places: int = 0
    columns: tuple[str, ...] = ()


class FieldMap(Part):
    """How one destination column gets its value, and when a found value counts as the same.

    Attributes:
        destination: Column, or a path over a lookup (``defaultuomid.name``).
        source: Column or path; None for a constant.
        map: copy, default (constant), default_if_blank, value_map or transform.
        value: The constant, as text; the destination's type decides how it is read.
        setting: Of a constant: the setting of the profile that takes its place.
        value_map: Name of the value map.
        blank_default: What a blank source becomes, before the value map's own entry for blank.
        transform: Steps, in order: ``upper``, ``round_half_away(2)``; see `TRANSFORMS`.
        truncate: Characters kept.
        length: Characters the destination column holds, where the live metadata does not say.
        length_confidence: How sure that length is.
        normalise: Differences that count as ``representation``: trim, case, blank (blanks only is nothing), date.
        tolerance: Absolute, inclusive, in the unit of the column.
        money: Whether it is an amount, in the task's currency; or the destination column with its own currency.
        lookup: The service finds the row by this text, so case and blanks around it make no difference at all.
        parent: The row that the value must point to; of several, any one.
        role: sync (compared and sent), computed (the destination works it out: compared, never sent), worth (only to
            say what a row is worth: neither compared nor sent), unfilled (nothing fills its source, and the destination
            has a value of its own: neither compared nor sent).
        also: Found values that are right as well, as text, whatever is expected.
        without: Of an amount: destination columns taken off what is found before it is compared, since the source
            cannot know them (tax that the destination alone works out).
        progress: Values in the order in which a document goes through them, each with the paper that brings it about; a
            found value further down than the expected one is ahead.
        apart: Values outside that order: a cancelled document is neither behind nor ahead.
        quirk: What is odd about it, known and no error.
        personal: Whether its values tell of a person: people are shown tokens instead (`p2c_lib.masking`). No key.
        confidence: Of the pair of fields and the kind of map.
        transform_confidence: Of the constant, value map or transform.
        note: What a reader should know.
    """

    destination: str
    source: str | None = None
    map: MapKind = "copy"
    value: Text | None = None
    setting: Setting | None = None
    value_map: str | None = None
    blank_default: Text | None = None
    transform: tuple[str, ...] = ()
    truncate: Annotated[int, Field(ge=1)] | None = None
    length: Annotated[int, Field(ge=1)] | None = None
    length_confidence: Confidence = "inferred"
    normalise: tuple[Normaliser, ...] = ()
    tolerance: Amount | None = None
    money: bool | str = False
    lookup: bool = False
    parent: Annotated[tuple[Parent, ...], BeforeValidator(as_list)] = ()
    role: Role = "sync"
    also: tuple[Text, ...] = ()
    without: tuple[str, ...] = ()
    progress: Annotated[dict[str, str], BeforeValidator(as_entries)] = Field(default_factory=dict)
    apart: tuple[Text, ...] = ()
    quirk: Quirks = ()
    personal: bool = False
    confidence: Confidence = "confirmed"
    transform_confidence: Confidence = "confirmed"
    note: str = ""

    @property
    def is_compared(self) -> bool:
        """Whether its values are held against each other; one that is not is never sent either."""
        return self.role in ("sync", "computed")

    def steps(self) -> list[Step]:
        """The transform steps, read.

        Returns:
            The steps, in order.

        Raises:
            ValueError: A step is not known, or has other arguments than it takes.
        """
        found = []
        for step in self.transform:
            match = _STEP.fullmatch(step.strip())
            name, inside = (match[1], match[2]) if match else (step, None)
            given = tuple(part.strip() for part in (inside or "").split(",") if part.strip())
            if name not in TRANSFORMS:
                raise ValueError(f"no transform '{step}'; known: {', '.join(sorted(TRANSFORMS))}")
            if name in COMBINING:
                fits = len(given) > 1 and given[0] == self.source
            else:
                fits = len(given) == ("(" in TRANSFORMS[name]) and all(part.isdigit() for part in given)
            if not fits:
                first = f", with '{self.source}' first" if name in COMBINING else ""
                raise ValueError(f"'{step}' has wrong arguments; write {TRANSFORMS[name]}{first}")
            if name in COMBINING:
                found.append(Step(name, columns=given))
            else:
                found.append(Step(name, places=int(given[0]) if given else 0))
        return found

    @property
    def sources(self) -> tuple[str, ...]:
        """The source columns it reads, each once; the steps must be sound."""
        combined = (column for step in self.steps() for column in step.columns)
        return tuple(dict.fromkeys([*([self.source] if self.source else []), *combined]))

    @property
    def reads(self) -> tuple[str, ...]:
        """The source columns it reads, and those that its quirks look at; each once."""
        odd = [column for quirk in self.quirk for column in (quirk.instead, quirk.where) if column]
        return tuple(dict.fromkeys([*self.sources, *odd]))


class FreightTax(Part):
    """The line that the destination itself makes of the tax on a document's charges; the source has no such line.

    Attributes:
        line: The lines' column that marks it.
        amount: The lines' column with its amount.
        document: The lines' path to the number of their document: such a line carries none of its own.
        tax: The header's column with the tax that the line stands for, one of ``plus``.
    """

    line: str
    amount: str
    document: str
    tax: str


class TieOut(Part):
    """How the amounts of a document belong together; columns are named as in the destination.

    Attributes:
        header: The task of the headers; the lines are those of this task.
        document: The header's column that names the document.
        line_document: The lines' column that names it.
        number: The lines' column that numbers them.
        total: The header's total.
        line_amount: The amount of a line that goes into the total.
        plus: Header amounts added to the lines: charges, tax on charges.
        minus: Header amounts taken off: header discount.
        same_line: Columns that make a line the same line under another number: product, quantity, price.
        freight_tax: The line that stands for tax on charges; None where the destination makes none.
    """

    header: str
    document: str
    line_document: str
    number: str
    total: str
    line_amount: str
    plus: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    same_line: tuple[str, ...] = ()
    freight_tax: FreightTax | None = None


def _as_names(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_names)]


class Evidence(Part):
    """The columns by which a row without its key can be told to be another one; named as in the destination.

    Attributes:
        name: Of a company, or the family name of a person; several columns are read as one text.
        given: Given names of a person; their place tells persons from companies.
        street: With the house number.
        city: Likewise ``postcode``, ``country``, ``mail``, ``phone``.
    """

    name: Names
    given: Names = ()
    street: Names = ()
    city: Names = ()
    postcode: Names = ()
    country: Names = ()
    mail: Names = ()
    phone: Names = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, each once."""
        return tuple(dict.fromkeys(column for name in Evidence.model_fields for column in getattr(self, name)))


class Task(Part):
    """One source entity to one destination entity, one direction.

    Attributes:
        name: Unique among all tasks.
        template: The template it belongs to.
        of: Of a leg through CDS: the direct task that does in one go what its two legs do.
        leg: 1 = from the source into the store, 2 = from there to the destination; None for a direct task.
        key: Destination column to source column; the destination's are among the fields.
        filter: Source rows flow when all of these hold; none means all rows flow.
        currency: Destination column with the row's currency code; None where no amount is at stake.
        amount: Destination column with what the row is worth.
        tie_out: How its lines add up to the totals of their headers; None where its rows are no lines.
        evidence: By what rows that lost their key can be told; None where nobody should guess.
        value_maps: The value maps its fields name.
    """

    name: str
    template: str = ""
    title: str = ""
    of: str | None = None
    leg: Literal[1, 2] | None = None
    source: Side
    destination: Side
    key: dict[str, str]
    key_confidence: Confidence = "confirmed"
    filter: tuple[Condition, ...] = ()
    filter_note: str = ""
    fields: tuple[FieldMap, ...]
    currency: str | None = None
    amount: str | None = None
    tie_out: TieOut | None = None
    evidence: Evidence | None = None
    note: str = ""
    value_maps: dict[str, ValueMap] = Field(default_factory=dict)

    def field(self, destination: str) -> FieldMap:
        """The field map of a destination column.

        Args:
            destination: Its name or path.

        Returns:
            The field map.

        Raises:
            KeyError: The task does not fill that column.
        """
        for field in self.fields:
            if field.destination == destination:
                return field
        raise KeyError(f"{self.name} fills no column '{destination}'")

    def quirks(self) -> list[tuple[FieldMap, Quirk]]:
        """The known quirks of its fields: each field's own, then those of its value map."""
        found = []
        for field in self.fields:
            value_map = self.value_maps.get(field.value_map or "")
            found += [(field, quirk) for quirk in (*field.quirk, *(value_map.quirk if value_map else ()))]
        return found


class Template(Part):
    """A named set of tasks, in order; the public ones keep their published title."""

    name: str = Field(alias="template")
    title: str
    generation: Route = "direct"
    direction: Literal["sales_to_fno", "fno_to_sales"]
    position: Annotated[int, Field(ge=1)]
    prerequisites: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    quirks: tuple[str, ...] = ()
    note: str = ""
    tasks: tuple[Task, ...]
