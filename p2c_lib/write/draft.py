"""One task's part of a plan: rows and cells that differ become fields to send, or fields held back with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from p2c_lib import mapping
from p2c_lib.cells import as_text
from p2c_lib.connect import Client, Entity, Metadata
from p2c_lib.model import FieldMap, Task
from p2c_lib.pull import MONEY
from p2c_lib.write.documents import doubled_freight_tax, read_states, state_field, too_fine, unsold
from p2c_lib.write.lookups import Resolved, resolve
from p2c_lib.write.reading import bound_to
from p2c_lib.write.saved import LEFT_OUT, PLAN_COLUMNS
from p2c_lib.write.staging import Staged

_NUMBERS = ("Edm.Byte", "Edm.SByte", "Edm.Int16", "Edm.Int32", "Edm.Int64", "Edm.Decimal", "Edm.Double", "Edm.Single")
_NO_DATE = "1900-01-01T00:00:00Z"  # how X++ holds an empty date
_MOMENT = "%Y-%m-%dT%H:%M:%S%.fZ"
# Parents of this task's creates that the same plan makes first.
_MADE = pl.Schema({"source_row": pl.UInt32(), "field": pl.String(), "parent": pl.String(), "set": pl.String()})
_OFFER = ["source_row", "field", "value", "why", "parent", "parent_order", "set"]


class Draft:
    """One task's part of a plan, in the making."""

    def __init__(
        self,
        place: Path,
        task: Task,
        entity: Entity,
        offset: int,
        parents: dict[tuple[str, str], pl.DataFrame],
        staged: Staged | None = None,
        coming: Mapping[tuple[str, str], pl.Series] | None = None,
    ) -> None:
        self.task, self.entity, self.parents, self.coming = task, entity, parents, coming or {}
        # Rows made without a field, by the task and column of its parent: source_row, field, value, set.
        self.late: dict[tuple[str, str], pl.DataFrame] = {}
        self.whole = pl.DataFrame(schema={"order": pl.UInt32, "why": pl.String})  # creates that are held back
        self.system = task.destination.system
        self.rows = pl.read_parquet(place / "rows.parquet")
        self.outcomes = pl.read_parquet(place / "outcomes.parquet").select("key", "field", "code", "reason")
        self.cells = _told(pl.read_parquet(place / "cells.parquet"), self.outcomes)
        self.expected = pl.read_parquet(place / "expected.parquet")
        self.found = pl.read_parquet(place / "found.parquet")
        self.place, self.offset, self.staged = place, offset, staged
        self.made: pl.DataFrame = _MADE.to_frame()
        self.states: pl.DataFrame | None = None  # of the documents that the actions are about, where states matter
        self.base = pl.DataFrame()  # the actions, one row each

    def build(self, client: Client, metadata: Metadata) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows of `PLAN_COLUMNS`, and what differs without an action.

        Computed fields that nothing else holds are left for `totals.settle`, which knows the lines of each document.
        """
        base = pl.concat([self._creates(), self._updates()]).with_row_index("order", self.offset)
        wanted = self.expected[base["source_row"]]
        base = base.with_columns(stuck=self._stuck(client, base, wanted), staged_order=pl.lit(None, pl.UInt32))
        base = self.staged.told(base.drop("staged_order")) if self.staged else base
        self.base = base
        resolved = resolve(client, metadata, self.entity, [f.destination for f in self.task.fields], wanted)
        unmapped = self._unmapped(base)
        sent = [field for field in self.task.fields if field.is_compared]
        parts = [self._field(client, field, base, wanted, resolved, unmapped) for field in sent]
        fields = pl.concat(parts).sort("order", maintain_order=True)
        fields = self._hold_whole_creates(base, fields)
        self._offer_parents(base, wanted, fields)
        planned = base.select("source_row").unique()
        rest = self.rows.filter(~pl.col("outcome").is_in(["matched", "missing", "mismatched"])).join(
            planned, on="source_row", how="anti"
        )
        rest = rest.group_by("outcome", "reason").agg(rows=pl.len()).sort("outcome", "reason")
        return fields.select(pl.col(name).cast(dtype) for name, dtype in PLAN_COLUMNS.items()), rest.select(
            task=pl.lit(self.task.name), outcome="outcome", reason="reason", rows="rows"
        ).cast(LEFT_OUT)

    def _creates(self) -> pl.DataFrame:
        orphans = self.rows.filter((pl.col("outcome") == "blocked") & (pl.col("reason") == "parent_missing"))
        orphans = orphans.join(self._offers(), on="source_row", how="inner", maintain_order="left")
        missing = self.rows.filter(pl.col("outcome") == "missing").with_columns(
            after_order=pl.lit(None, pl.UInt32), parent_held=pl.lit(None, pl.String)
        )
        rows = pl.concat([missing, orphans]).sort("source_row")
        own_key = self.expected[rows["source_row"]].select(list(self.task.key))
        return self._base(rows, "create", own_key, pl.Series([None], dtype=pl.String))

    def _offers(self) -> pl.DataFrame:
        """Rows all of whose missing parents this plan makes: ``source_row``, ``after_order``, ``parent_held``."""
        waits = pl.read_parquet(self.place / "waits.parquet")
        waits = waits.unique(["source_row", "field"], maintain_order=True).select(
            "source_row", "field", value=pl.col("value").str.strip_chars().str.to_lowercase()
        )
        offers = []
        for field in self.task.fields:
            for parent in field.parent:
                place = parent.task or "", parent.column
                known, later = self.parents.get(place), self.coming.get(place)
                if later is not None:
                    mine = waits.filter((pl.col("field") == field.destination) & pl.col("value").is_in(later.implode()))
                    self.late[place] = mine = mine.with_columns(set=pl.lit(parent.entity))
                    offers.append(
                        mine.with_columns(pl.lit(None, pl.String).alias(n) for n in ("why", "parent", "parent_order"))
                    )
                elif known is not None:
                    mine = waits.filter(pl.col("field") == field.destination).join(known, on="value")
                    offers.append(mine.with_columns(set=pl.lit(parent.entity)))
        if not offers:
            nothing = {"after_order": pl.lit(None, pl.UInt32), "parent_held": pl.lit(None, pl.String)}
            return waits.clear().select("source_row", **nothing)
        found = pl.concat([offer.cast({"parent_order": pl.UInt32}).select(_OFFER) for offer in offers])
        self.made = found.filter(pl.col("parent_order").is_not_null())
        self.made = self.made.select(_MADE.names()).unique(["source_row", "field"], keep="first", maintain_order=True)
        rows = waits.group_by("source_row").agg(wanted=pl.col("field").n_unique())
        made = found.group_by("source_row").agg(
            offered=pl.col("field").n_unique(),
            after_order=pl.col("parent_order").max(),
            parent_held=pl.col("why").drop_nulls().first(),
        )
        rows = rows.join(made, on="source_row").filter(pl.col("offered") == pl.col("wanted"))
        return rows.select("source_row", "after_order", "parent_held")

    def _updates(self) -> pl.DataFrame:
        rows = self.rows.filter(pl.col("outcome") == "mismatched").sort("source_row")
        rows = rows.with_columns(after_order=pl.lit(None, pl.UInt32), parent_held=pl.lit(None, pl.String))
        found = self.found[rows["destination_row"]]
        return self._base(rows, "update", found.select(self.entity.key), found["@odata.etag"])

    def _base(self, rows: pl.DataFrame, action: str, key: pl.DataFrame, etag: pl.Series) -> pl.DataFrame:
        target = key.select(pl.struct(pl.all()).struct.json_encode().alias("target"))["target"]
        nothing = {"amount": pl.lit(None, MONEY), "currency": pl.lit(None, pl.String)}
        rows = rows.with_columns(**{name: null for name, null in nothing.items() if name not in rows.columns})
        return rows.select(
            "source_row", "key", "after_order", "parent_held", "amount", "currency", action=pl.lit(action)
        ).with_columns(target=target, etag=etag if etag.len() == rows.height else pl.lit(None, pl.String))

    def _unmapped(self, base: pl.DataFrame) -> pl.DataFrame:
        """Source values that the value map does not know: ``order``, ``field``, ``value``."""
        source = pl.read_parquet(self.place / "source.parquet")[base["source_row"]]
        unmapped = mapping.expected(source, self.task, self.entity).unmapped
        orders = base.select("order").with_row_index("row")
        return unmapped.select(pl.col("row").cast(pl.UInt32), "field", "value").join(orders, on="row")

    def _stuck(self, client: Client, base: pl.DataFrame, wanted: pl.DataFrame) -> pl.Series:
        """Why nothing at all can be sent of a row: its document is closed, or F&O's own by now, or has the line."""
        why = pl.repeat(None, wanted.height, dtype=pl.String, eager=True)
        if where := state_field(self.task):
            field, entity, column = where
            self.states = read_states(client, entity, column, wanted[field])
            document = wanted.select(document=pl.col(field).str.strip_chars().str.to_lowercase())
            why = document.join(self.states, on="document", how="left", maintain_order="left")["closed"]
        is_create = base["action"] == "create"
        return base.select(
            why=pl.when(is_create & self._renumbered(base))
            .then(pl.lit("the same line stands there under another number: delete that one by hand, then plan again"))
            .when(is_create & self._unnumbered(wanted))
            .then(pl.lit("the same line stands there without a number: give it this one's by hand, then compare again"))
            .otherwise(why)
        )["why"]

    def _renumbered(self, base: pl.DataFrame) -> pl.Series:
        """Lines that would be there twice when sent: the comparison found them under another number."""
        told = self.outcomes.filter(pl.col("field").is_null() & (pl.col("code") == "renumbered"))["key"]
        return base["key"].is_in(told.implode())

    def _unnumbered(self, wanted: pl.DataFrame) -> pl.Series:
        """The same for lines whose document has one just like them, without a number."""
        how = self.task.tie_out
        if how is None or not how.same_line:
            return pl.repeat(False, wanted.height, dtype=pl.Boolean, eager=True)
        by = [how.line_document, *how.same_line]
        rows = self.rows.filter((pl.col("outcome") == "blocked") & (pl.col("reason") == "blank_key"))
        alike = self.found[rows["destination_row"].drop_nulls()].select(by).unique().with_columns(is_there=True)
        there = wanted.select(by).join(alike, on=by, how="left", nulls_equal=True, maintain_order="left")["is_there"]
        return there.fill_null(False)

    def _field(
        self,
        client: Client,
        field: FieldMap,
        base: pl.DataFrame,
        wanted: pl.DataFrame,
        resolved: Mapping[str, Resolved],
        unmapped: pl.DataFrame,
    ) -> pl.DataFrame:
        name = field.destination
        part = base.with_columns(value=wanted[name])
        if name in resolved:
            answer = resolved[name]
            part = part.with_columns(id=answer.ids, unresolved=answer.problems, nav=answer.navs)
        else:
            nothing = pl.lit(None, pl.String)
            part = part.with_columns(id=nothing, unresolved=nothing, nav=nothing)
        cells = self.cells.filter(pl.col("field") == name).select(
            "source_row", "outcome", "found", "quirk", cell_amount="amount"
        )
        made = self.made.filter(pl.col("field") == name).drop("field")
        part = part.join(made, on="source_row", how="left", maintain_order="left")
        unknown = unmapped.filter(pl.col("field") == name).group_by("order").agg(unknown=pl.col("value").first())
        part = part.join(cells, on="source_row", how="left", maintain_order="left")
        is_new = pl.lit(field.role != "computed") & (pl.col("action") == "create")
        late = [rows.filter(pl.col("field") == name)["source_row"] for rows in self.late.values()]
        is_new &= ~pl.col("source_row").is_in(pl.concat(late).implode()) if late else pl.lit(True)
        part = part.filter(is_new | pl.col("outcome").is_not_null())
        part = part.join(unknown, on="order", how="left", maintain_order="left")
        if self.staged:
            part = part.with_columns(unstaged=self.staged.unstaged(part, field.sources)).drop("normal")
        else:
            part = part.with_columns(unstaged=pl.lit(None, pl.String))
        off = self._off(client, field, part)
        part = part.with_columns(off=pl.lit(None, pl.String) if off is None else off)
        is_create = pl.col("action") == "create"
        part = part.with_columns(
            task=pl.lit(self.task.name),
            system=pl.lit(self.system),
            entity=pl.lit(self.entity.name),
            field=pl.lit(name),
            before=pl.when(~is_create).then(pl.col("found")),
            after=as_text("value", wanted[name].dtype),
            amount=pl.when(is_create).then(pl.col("amount")).otherwise(pl.col("cell_amount")),
        )
        return self._wired(client, part, field).pipe(self._held, field)

    def _bound(self, client: Client, path: str, part: pl.DataFrame) -> pl.DataFrame:
        """What rows to be updated are bound to: ``order``, ``bound``; read now, as names may be those of several."""
        updates = part.filter(pl.col("action") == "update").select("order", "target")
        if updates.is_empty() or self.system != "sales":
            return pl.DataFrame(schema={"order": pl.UInt32, "bound": pl.String})
        return bound_to(client, self.entity, f"_{path.split('.')[0]}_value", updates)

    def _off(self, client: Client, field: FieldMap, part: pl.DataFrame) -> pl.Series | None:
        """Why other rows keep a field from being written; None where none can."""
        if self.task.tie_out is not None:
            fine = too_fine(client, self.task, field, self.expected, part["source_row"])
            sold = unsold(client, field, part["value"], part["parent"].is_not_null())
            return fine if sold is None else sold if fine is None else sold.zip_with(sold.is_not_null(), fine)
        ids = part["target"].str.json_path_match(f"$.{self.entity.key[0]}")
        return doubled_freight_tax(client, self.entity.name, field.destination, ids)

    def _wired(self, client: Client, part: pl.DataFrame, field: FieldMap) -> pl.DataFrame:
        """Add ``property``, ``wire``, ``was`` and ``sent``; a create says nothing of what is null anyway."""
        name = field.destination
        column = self.entity.columns.get(name)
        is_create, sent, was = pl.col("action") == "create", pl.col("after"), pl.col("before")
        if "." in name:
            part = part.join(self._bound(client, name, part), on="order", how="left", maintain_order="left")
            was = pl.col("bound")
            navs = [x for x in self.entity.lookups if x.column == f"_{name.split('.')[0]}_value"]
            by_set = pl.col("set").replace_strict({x.target: x.nav for x in navs}, default=None, return_dtype=pl.String)
            is_made = pl.col("id").is_null() & pl.col("parent").is_not_null()
            nav = pl.coalesce("nav", by_set, pl.lit(navs[0].nav if navs else name))
            prop = pl.concat_str(nav, pl.lit("@odata.bind"))
            # The row it points to does not exist yet; its id is known when it is sent.
            wire = pl.when(is_made).then(pl.lit("made")).otherwise(pl.lit("bind"))
            sent = pl.when(is_made).then(pl.concat_str("set", pl.lit("/"), "parent")).otherwise(pl.col("id"))
            part = part.with_columns(unresolved=pl.when(~is_made).then("unresolved"))
            keep = ~is_create | pl.col("after").is_not_null()
        else:
            edm = column.edm_type if column else "Edm.String"
            prop = pl.lit(name)
            wire = pl.lit("boolean" if edm == "Edm.Boolean" else "number" if edm in _NUMBERS else "string")
            if part["value"].dtype == pl.Datetime:
                sent = pl.col("value").dt.strftime(_MOMENT)
                was = was.str.to_datetime("%+", time_unit="us", time_zone="UTC").dt.strftime(_MOMENT)
            elif part["value"].dtype == pl.Date and edm == "Edm.DateTimeOffset":
                sent = pl.col("value").dt.strftime("%Y-%m-%dT12:00:00Z")
                was = was + pl.lit("T12:00:00Z")
            keep = ~is_create | sent.is_not_null()
            if self.system == "fno" and edm == "Edm.String":
                sent, was, keep = sent.fill_null(""), was.fill_null(""), pl.lit(True)
            elif self.system == "fno" and edm == "Edm.DateTimeOffset":
                sent = pl.when(is_create).then(sent).otherwise(sent.fill_null(_NO_DATE))
                was = was.fill_null(_NO_DATE)
        # What the value map does not know is null too, but must not vanish.
        keep = keep | pl.col("unknown").is_not_null()
        part = part.with_columns(was=pl.when(~is_create).then(was))
        return (
            part.filter(keep)
            .with_columns(property=prop, wire=wire, sent=sent)
            .drop("nav", "parent", "set", "bound", strict=False)
        )

    def _held(self, part: pl.DataFrame, field: FieldMap) -> pl.DataFrame:
        """Add ``held``, why the field cannot be sent, and ``fatal``: whether a create cannot go without it."""
        name, is_create, after = field.destination, pl.col("action") == "create", pl.col("after")
        column = self.entity.columns.get(name)
        if "." in name:
            column = self.entity.columns.get(f"_{name.split('.')[0]}_value")
        reasons: list[tuple[pl.Expr, pl.Expr | str, bool]] = [
            (pl.col("stuck").is_not_null(), pl.col("stuck"), True),
            (pl.col("quirk").is_not_null(), pl.col("quirk"), False),
            (pl.col("parent_held").is_not_null(), pl.lit("its parent is held back: ") + pl.col("parent_held"), True),
            (
                pl.col("unknown").is_not_null() | (pl.col("outcome") == "unmapped"),
                pl.format(
                    "the value map {} has no entry for {}; extend it in an overlay",
                    pl.lit(str(field.value_map)),
                    pl.concat_str(pl.lit("'"), pl.col("unknown"), pl.lit("'")).fill_null("the source value"),
                ),
                True,
            ),
            (pl.col("unstaged").is_not_null(), pl.col("unstaged"), False),
            (pl.col("unresolved").is_not_null(), pl.col("unresolved"), True),
            (pl.col("off").is_not_null(), pl.col("off"), True),
        ]
        # Without an etag a change by someone else would go unseen.
        no_etag = "the service gave no etag when the row was compared; compare again"
        reasons.append((~is_create & pl.col("etag").is_null(), no_etag, True))
        if field.role == "computed":
            pass  # never sent; whether the service can be made to work it out again is asked when all is known
        elif column is None:
            reasons.append((pl.lit(True), f"{self.entity.name} has no column for {name}", True))
        else:
            home = state_field(self.task) if self.task.tie_out else None
            if home is not None and home[0] == name:
                move = f"a line of {self.entity.name} cannot move to another document: delete it there, then plan again"
                reasons.append((~is_create, move, False))
            key = f"{name} is part of the key of {self.entity.name}, which cannot be changed: change it by hand"
            edit = f"{name} of {self.entity.name} cannot be changed once the row is there: change it by hand"
            reasons.append((~is_create & pl.lit(column.is_key), key, False))
            reasons.append((~is_create & pl.lit(not column.allow_edit), edit, False))
            on_create = f"{name} of {self.entity.name} cannot be given when the row is made"
            reasons.append((is_create & pl.lit(not column.allow_edit_on_create), on_create, False))
            if column.enum:
                members = f"is not one of {', '.join(column.enum)} ({name})"
                wrong = after.is_not_null() & ~after.is_in(list(column.enum))
                reasons.append((wrong, pl.concat_str(pl.lit("'"), after, pl.lit(f"' {members}")), True))
            if "." not in name:
                reasons += self._too_long(field, column.edm_type, column.max_length)
                blank = f"{name} cannot be blank in {self.entity.name}"
                empty = ~is_create & pl.col("sent").is_null()
                reasons.append((empty & pl.lit(self.system == "fno" or not column.nullable), blank, False))
        # Nulls in a condition are "no"; the first reason that holds is given.
        held = pl.coalesce(
            [
                pl.when(when.fill_null(False)).then(pl.lit(why) if isinstance(why, str) else why)
                for when, why, _ in reasons
            ]
        )
        fatal = pl.any_horizontal([when.fill_null(False) for when, _, whole in reasons if whole])
        return part.with_columns(held=held, fatal=fatal & is_create).drop(
            "value", "id", "unresolved", "unknown", "found", "off", "quirk", "stuck", "unstaged"
        )

    def _too_long(self, field: FieldMap, edm: str, limit: int | None) -> list[tuple[pl.Expr, pl.Expr | str, bool]]:
        # Databases count UTF-16 units: a letter outside the first plane takes two.
        after = pl.col("after")
        length = after.str.len_chars() + after.str.count_matches(r"[\x{10000}-\x{10FFFF}]")
        known = limit or field.length
        if edm != "Edm.String" or known is None:
            return []
        name = field.destination
        if self.system in ("sales", "cds"):
            why = pl.format(
                "{} characters, {} holds {}; shorten it or declare truncate", length, pl.lit(name), pl.lit(known)
            )
            return [(length > known, why, True)]
        if name in self.task.key or field.source in self.task.key.values():
            # Cut, it would be the number of another row.
            why = pl.format(
                "{} characters, the number {} holds {} and would be cut", length, pl.lit(name), pl.lit(known)
            )
            return [(pl.col("action").eq("create") & (length > known), why, True)]
        # X++ cuts without a word; sending again what it has cut before changes nothing.
        cut = (length > known) & (pl.col("before") == after.str.head(known))
        return [(cut, f"{name} holds {known} characters and cuts what is longer; declare truncate", False)]

    def _hold_whole_creates(self, base: pl.DataFrame, fields: pl.DataFrame) -> pl.DataFrame:
        fatal = fields.filter("fatal").group_by("order").agg(whole=pl.col("held").first())
        fields = fields.join(fatal, on="order", how="left", maintain_order="left")
        first = pl.col("order").is_first_distinct()  # a create's worth is counted once
        return fields.with_columns(
            held=pl.coalesce("whole", "held"),
            amount=pl.when((pl.col("action") == "update") | first).then(pl.col("amount")),
        )

    def _offer_parents(self, base: pl.DataFrame, wanted: pl.DataFrame, fields: pl.DataFrame) -> None:
        """Keep what later tasks may point to: values of this task's created rows, by column."""
        held = fields.group_by("order").agg(why=pl.col("whole").first())
        self.whole = held.drop_nulls()
        orders = base.select("order", "action", parent="key").join(held, on="order", how="left", maintain_order="left")
        for name in (n for n, dtype in wanted.schema.items() if dtype == pl.String):
            offered = orders.with_columns(value=wanted[name].str.strip_chars().str.to_lowercase())
            offered = offered.filter((pl.col("action") == "create") & pl.col("value").is_not_null())
            offered = offered.select("value", "why", "parent", parent_order="order").unique(
                "value", keep="first", maintain_order=True
            )
            self.parents[self.task.name, name] = offered


def _told(cells: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """The cells with ``quirk``: what the template itself makes differ, in words; such a field is never sent."""
    quirks = outcomes.filter(pl.col("field").is_not_null() & (pl.col("code") == "quirk"))
    return cells.join(
        quirks.select("key", "field", quirk="reason"), on=["key", "field"], how="left", maintain_order="left"
    )
