"""A store between two systems that agree, with differences on either leg, and the truth about them.

The staged rows are made from the second transcription of the published templates (``schema/cds_fields.txt``) with maps
of its own, so that it says nothing after what it is there to judge. Differences touch single rows and fields: lost on
a leg, left over, stale, bent in the store, bent at the destination, under a key that is blank or repeated. A header
that is lost at the destination takes its lines with it: these are blocked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import polars as pl
import yaml

from p2c_lib.sandbox.documents_truth import in_use
from p2c_lib.sandbox.draw import MONEY, Draw
from p2c_lib.sandbox.edits import TRUTH, tidy
from p2c_lib.sandbox.staged_ways import FNO_LINE, MAPS, NAMES, OWN, WAYS, Way

__all__ = ["stage", "write"]

COMPANY = "usmf"
STAGED = datetime(2026, 1, 1, 6, tzinfo=UTC)
LOST_AND_BENT = 2  # rows of each kind a task
Frames = Mapping[str, pl.DataFrame]


_KINDS: Mapping[str, pl.DataType] = {
    "amount": MONEY,
    "whole": pl.Int32(),
    "flag": pl.Boolean(),
    "date": pl.Date(),
    "moment": pl.Datetime("us", "UTC"),
}


def stage(
    sales: Frames, fno: Frames, excluded: pl.DataFrame, draw: Draw, *, drift: bool
) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame], dict[str, pl.DataFrame], pl.DataFrame]:
    """Stage what flows from either side, as if both legs had run, and put differences on either leg.

    Args:
        sales: Frames of Sales, in step with F&O over the direct route.
        fno: Frames of F&O.
        excluded: The rows that the direct tasks leave out (``task``, ``key``).
        draw: Stream to choose rows from.
        drift: Whether to put differences in.

    Returns:
        Both sides, the tables of the store by entity, and the truth about every leg (columns `TRUTH`).
    """
    world = _World(dict(sales), dict(fno))
    ways = {task: way for task, way in WAYS.items() if way.source[1] in world.frames[way.source[0]]}
    truth, outs = [], {}
    for task, way in ways.items():
        out = excluded.filter(task=task, outcome="excluded")["key"]
        if way.flows is not None:
            kept_back = world.rows(way.source).select(~way.flows.fill_null(False)).to_series()
            out = world.key(way.source, way.source_key).filter(kept_back)
        world.stage(task, way, out)
        outs[task] = out
    _as_staged(world)
    if drift:
        customers, products = in_use(sales, fno)
        people = world.frames["sales"]["contacts"]["_parentcustomerid_value"].drop_nulls().unique().implode()
        accounts = world.frames["sales"]["accounts"]
        parents = accounts.filter(pl.col("accountid").is_in(people))["accountnumber"]
        bound = pl.concat([customers, products, parents.drop_nulls()]).unique().implode()
        for task, way in ways.items():
            truth += world.spoil(task, way, bound, draw)
    for task, way in ways.items():  # of the rows that are still there
        there = world.key(way.source, way.source_key).implode()
        out = outs[task].replace(world.renamed.get(way.source, {}))
        truth.append(_told(f"{task}_to_cds", out.filter(out.is_in(there)), "excluded"))
    for task, other in (("accounts", "contacts_to_customer"), ("contacts_to_customer", "accounts")):
        truth.append(_told(f"{task}_from_cds", world.store[other]["_key"], "excluded"))
    tables: dict[str, pl.DataFrame] = {}
    for task, way in ways.items():
        rows = world.store[task].drop("_key")
        tables[way.entity] = pl.concat([tables[way.entity], rows], how="diagonal") if way.entity in tables else rows
    return world.frames["sales"], world.frames["fno"], tables, tidy(pl.concat(truth))


def write(folder: Path, tables: Frames) -> None:
    """Write the store's tables as Delta tables into a folder, every declared column of the declared type."""
    from deltalake import write_deltalake

    for entity, said in _declared().items():
        if entity in tables:
            kinds = {name: _KINDS.get(facts["type"], pl.String()) for name, facts in said["columns"].items()}
            kinds |= {"staged_at": pl.Datetime("us", "UTC"), "run_id": pl.String()}
            rows = tables[entity].with_columns(staged_at=pl.lit(STAGED), run_id=pl.lit("sandbox"))
            lacking = [pl.lit(None, kind).alias(name) for name, kind in kinds.items() if name not in rows.columns]
            rows = rows.with_columns(lacking).select(pl.col(name).cast(kind) for name, kind in kinds.items())
            write_deltalake(str(folder / entity), rows.to_arrow())


def _declared() -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    text = files("p2c_lib.store").joinpath("entities.yaml").read_text(encoding="utf-8")
    found: dict[str, dict[str, dict[str, dict[str, str]]]] = yaml.load(text, Loader=yaml.BaseLoader)["entities"]
    return found


def _facts(task: str) -> list[list[str]]:
    text = files("p2c_lib.sandbox").joinpath("schema", "cds_fields.txt").read_text(encoding="utf-8")
    rows = [[part.strip() for part in line.split("|")] for line in text.splitlines() if line and line[0] != "#"]
    return [row[2:7] for row in rows if row[:2] == [task, "1"]]


def _told(
    task: str,
    keys: pl.Series,
    outcome: str,
    field: str | None = None,
    before: str | None = None,
    after: str | None = None,
) -> pl.DataFrame:
    more = {"field": field, "outcome": outcome, "before": before, "after": after}
    return (
        keys.to_frame("key")
        .select(
            pl.lit(task).alias("task"), "key", *(pl.lit(value, pl.String).alias(name) for name, value in more.items())
        )
        .cast(TRUTH)
    )


class _World:
    """Both sides and the staged rows of each task, with ``_key``, the row's key as text."""

    def __init__(self, sales: dict[str, pl.DataFrame], fno: dict[str, pl.DataFrame]) -> None:
        self.frames = {"sales": sales, "fno": fno}
        self.store: dict[str, pl.DataFrame] = {}
        self.renamed: dict[tuple[str, str], dict[str, str]] = {}

    def rows(self, place: tuple[str, str]) -> pl.DataFrame:
        """A set with the columns of what its lookups lead to."""
        system, entity = place
        frame = self.frames[system][entity]
        if system == "fno":
            texts = pl.selectors.string()
            return frame.with_columns(pl.when(texts != "").then(texts))
        for lookup, (target, key, name) in NAMES.items():
            column = f"_{lookup}_value"
            if column in frame.columns:
                named = self.frames["sales"][target].select(
                    pl.col(key).alias(column), pl.col(name).alias(f"{lookup}.{name}")
                )
                frame = frame.join(named, on=column, how="left", maintain_order="left")
        for lookup in ("customerid", "parentcustomerid"):
            column = f"_{lookup}_value"
            if column in frame.columns:
                owners = [
                    self.frames["sales"][n].select(pl.col(k).alias(column), pl.col(c).alias("owner"))
                    for n, k, c in (("accounts", "accountid", "accountnumber"),
                                    ("contacts", "contactid", "msdynce_contactnumber"))
                ]  # fmt: skip
                name = f"{lookup}.Account(accountnumber).Contact(msdynce_contactnumber)"
                frame = frame.join(pl.concat(owners), on=column, how="left", maintain_order="left").rename(
                    {"owner": name}
                )
        return frame

    def key(self, place: tuple[str, str], names: tuple[str, ...]) -> pl.Series:
        """The key of each row as text."""
        parts = [pl.col(name).cast(pl.String).fill_null("") for name in names]
        return self.rows(place).select(pl.concat_str(parts, separator="|")).to_series()

    def stage(self, task: str, way: Way, out: pl.Series) -> None:
        """Make the staged rows of a task."""
        rows = self.rows(way.source).with_columns(_key=self.key(way.source, way.source_key))
        # an earlier revision of a quote has the number of the one that flows
        rows = rows.filter(~pl.col("_key").is_in(out.implode()) if way.flows is None else way.flows)
        if "dataAreaId" in rows.columns:
            rows = rows.filter(pl.col("dataAreaId") == COMPANY)
        kinds = {n: _KINDS.get(f["type"], pl.String()) for n, f in _declared()[way.entity]["columns"].items()}
        columns = [_value(rows, fact, kinds[fact[0]]) for fact in _facts(task)]
        self.store[task] = rows.select("_key", *columns)

    def edit(self, place: tuple[str, str], names: tuple[str, ...], keys: pl.Series, column: str) -> None:
        """Make a column of some rows another."""
        system, entity = place
        frame = self.frames[system][entity]
        hit = self.key(place, names).is_in(keys.implode())
        self.frames[system][entity] = frame.with_columns(
            pl.when(hit).then(_bent(frame, column)).otherwise(column).alias(column)
        )

    def drop(self, place: tuple[str, str], names: tuple[str, ...], keys: pl.Series) -> None:
        """Take some rows away."""
        system, entity = place
        self.frames[system][entity] = self.frames[system][entity].filter(~self.key(place, names).is_in(keys.implode()))

    def spoil(self, task: str, way: Way, bound: pl.Series, draw: Draw) -> list[pl.DataFrame]:
        """Put differences on both legs of a task."""
        first, second, truth = f"{task}_to_cds", f"{task}_from_cds", []
        there = self.key(way.destination, way.destination_key).implode()
        rows = self.store[task].filter(pl.col("_key").is_in(there))
        rows = rows.filter(pl.all_horizontal(pl.col(staged).is_not_null() for _, staged, _ in way.chains))
        rows = rows[pl.Series(draw.rng.permutation(rows.height))]
        is_free = ~rows["_key"].is_in(bound)
        free, used = rows.filter(is_free)["_key"], rows["_key"]
        taken: list[str] = []

        def take(pool: pl.Series) -> pl.Series:
            keys = pool.filter(~pool.is_in(taken)).head(LOST_AND_BENT)
            taken.extend(keys)
            return keys

        source, destination = (way.source, way.source_key), (way.destination, way.destination_key)
        if way.lines is not None:
            truth += self._lose_headers(second, way, take(free.filter(~free.is_in(self._invoiced(way)))))
        else:  # what hangs on a document's header would be gone with it
            truth += self._spoil_keys(first, task, way, lambda: take(free))
            never, unsent, left = take(free), take(free), take(free)
            self._unstage(task, never)
            self.drop(*destination, never)
            truth.append(_told(first, never, "missing"))
            self.drop(*destination, unsent)
            truth.append(_told(second, unsent, "missing"))
            self.drop(*source, left)
            truth.append(_told(first, left, "extra"))
        forgotten = take(free)
        self._unstage(task, forgotten)
        truth += [_told(first, forgotten, "missing"), _told(second, forgotten, "extra")]
        for column, staged, at_destination in way.chains:
            stale, bent, edited = take(used), take(used), take(used)
            self.edit(*source, stale, column)
            readers = [name for name, read, *_ in _facts(task) if read == column]
            truth += [_told(first, stale, "different", reader) for reader in readers]
            table, hit = self.store[task], pl.col("_key").is_in(bent.implode())
            changed = pl.when(hit).then(_bent(table, staged)).otherwise(staged).alias(staged)
            self.store[task] = table.with_columns(changed)
            truth += [_told(first, bent, "different", staged), _told(second, bent, "different", at_destination)]
            self.edit(*destination, edited, at_destination)
            truth.append(_told(second, edited, "different", at_destination))
        return truth

    def _invoiced(self, way: Way) -> pl.Series:
        """Keys of the orders in Sales that an invoice there needs."""
        sales = self.frames["sales"]
        if way.destination[1] != "salesorders":
            return pl.Series([], dtype=pl.String).implode()
        needed = sales["invoices"]["_salesorderid_value"].drop_nulls().unique().implode()
        return sales["salesorders"].filter(pl.col("salesorderid").is_in(needed))["ordernumber"].implode()

    def _lose_headers(self, second: str, way: Way, keys: pl.Series) -> list[pl.DataFrame]:
        """Take documents away at the destination, headers and lines."""
        assert way.lines is not None
        task, head, line = way.lines
        system, entity = way.destination
        hit = self.key(way.destination, way.destination_key).is_in(keys.implode())
        ids = self.frames[system][entity].filter(hit)[head].implode()
        below = WAYS[task].destination[1]
        self.frames[system][below] = self.frames[system][below].filter(~pl.col(line).is_in(ids).fill_null(False))
        self.drop(way.destination, way.destination_key, keys)
        staged = self.store[task]["_key"]
        lines = staged.filter(staged.str.split("|").list.first().is_in(keys.implode()))
        return [_told(second, keys, "missing"), _told(f"{task}_from_cds", lines, "blocked")]

    def _spoil_keys(self, first: str, task: str, way: Way, take: Callable[[], pl.Series]) -> list[pl.DataFrame]:
        """Give rows at the source keys that nothing can be joined by, as far as the source lets them be so."""
        source, truth = (way.source, way.source_key), []
        if way.source_key[-1] == FNO_LINE:
            return []  # a number that F&O gives
        blank = take().head(1)
        nothing = f"{blank[0].split('|')[0]}|" if "|" in blank[0] else ""
        lost = [(blank, pl.Series([nothing]))]
        if way.source[1] != "quotedetails":
            padded = take()
            self._rename(*source, padded, padded + " ")
            truth += [_told(first, padded, "blocked"), _told(first, padded + " ", "blocked")]
        if way.source[1] == "accounts":  # the one source that may have two of a number
            one, other = take(), take()
            lost.append((other, one.str.to_lowercase()))
            truth.append(_told(first, one, "blocked"))
        for keys, others in lost:
            self._rename(*source, keys, others)
            self._unstage(task, keys)
            self.drop(way.destination, way.destination_key, keys)
            truth.append(_told(first, others, "blocked"))
        return truth

    def _rename(self, place: tuple[str, str], names: tuple[str, ...], keys: pl.Series, others: pl.Series) -> None:
        """Give rows other keys; of one of two parts the last goes."""
        system, entity = place
        frame, said = self.frames[system][entity], self.key(place, names)
        renamed = dict(zip(keys, others, strict=True))
        last = said.replace_strict(renamed, default=None, return_dtype=pl.String).str.split("|").list.last()
        nothing = "" if system == "fno" else None
        new = pl.when(pl.lit(last) == "").then(pl.lit(nothing)).otherwise(pl.lit(last)).cast(frame.schema[names[-1]])
        hit = said.is_in(keys.implode())
        self.frames[system][entity] = frame.with_columns(pl.when(hit).then(new).otherwise(names[-1]).alias(names[-1]))
        self.renamed.setdefault(place, {}).update(renamed)

    def _unstage(self, task: str, keys: pl.Series) -> None:
        self.store[task] = self.store[task].filter(~pl.col("_key").is_in(keys.implode()))


def _bent(frame: pl.DataFrame, column: str) -> pl.Expr:
    if frame.schema[column].is_decimal():
        return pl.col(column) + pl.lit(Decimal("7.00"), MONEY)
    return pl.lit("Bent by hand")


def _value(rows: pl.DataFrame, fact: list[str], kind: pl.DataType) -> pl.Expr:
    """A staged column by the page's own words: copied, looked up, or a constant."""
    name, source, how, table, constant = fact
    if source == "-":
        return pl.lit(OWN.get(name, constant)).alias(name)
    if source not in rows.columns:  # a column that the generator leaves to the service: nothing, and in F&O 0
        nothing = "0" if kind in (MONEY, pl.Int32()) and "dataAreaId" in rows.columns else None
        rows = rows.with_columns(pl.lit(nothing, pl.String).alias(source))
    value = pl.lit(rows[source])
    if how == "value_map":
        words = dict(MAPS[table])
        blank = words.pop("", None)
        text = value.cast(pl.String)
        text = text.fill_null("false") if table == "bool_inverted" else text  # Sales makes a flag false
        text = text.str.strip_chars().str.to_lowercase()
        mapped = text.replace_strict(words, default=None, return_dtype=pl.String)
        value = pl.when(text.fill_null("") == "").then(pl.lit(blank, pl.String)).otherwise(mapped)
        value = value == "true" if kind == pl.Boolean else value
    elif how == "default_if_blank" and name != "Sequence":
        filler = pl.lit("2020-01-01").str.to_date() if kind == pl.Date else pl.lit("0").cast(kind)
        value = value.cast(kind).fill_null(filler)
    if kind == pl.Date and rows.schema[source] == pl.Datetime:
        value = value.dt.date()
    return value.cast(kind).alias(name)


def _as_staged(world: _World) -> None:
    """Change what the destination has over this route otherwise than over the direct one."""
    fno, sales = world.frames["fno"], world.frames["sales"]

    def put(task: str, place: dict[str, pl.DataFrame], entity: str, names: tuple[str, ...], **columns: pl.Expr) -> None:
        if task not in world.store:
            return
        system = "fno" if place is fno else "sales"
        staged = world.store[task].select("_key", **{f"new_{name}": value for name, value in columns.items()})
        keyed = place[entity].with_columns(_key=world.key((system, entity), names), _is=pl.lit(True))
        joined = keyed.join(staged.with_columns(_hit=pl.lit(True)), on="_key", how="left", maintain_order="left")
        place[entity] = joined.with_columns(
            pl.when("_hit").then(pl.col(f"new_{name}").cast(place[entity].schema[name])).otherwise(name).alias(name)
            for name in columns
        ).select(place[entity].columns)

    def text(name: str) -> pl.Expr:
        return pl.col(name).fill_null("")

    person = {"OrganizationName": text("OrganizationName"), "AddressLocationRoles": pl.lit("Business")}
    put("contacts_to_customer", fno, "CustomersV2", ("CustomerAccount",), **person)
    put("invoice_headers", sales, "invoices", ("invoicenumber",), description=pl.lit(None, pl.String))
    there = {
        "DeliveryAddressStreetNumber": text("DeliveryAddress_AddressLine1"),
        "DeliveryAddressStreet": text("DeliveryAddress_AddressLine2"),
        "DeliveryAddressZipCode": text("DeliveryAddress_PostalCode"),
        "DeliveryAddressCountryRegionISOCode": text("DeliveryAddress_Country"),
        "DeliveryAddressStateId": text("DeliveryAddress_State"),
        "DeliveryAddressCity": text("DeliveryAddress_City"),
    }
    day = pl.col("RequestedDeliveryDate").cast(pl.Datetime("us")).dt.offset_by("12h").dt.replace_time_zone("UTC")
    customer = text("Account_AccountId")
    more = {"DeliveryAddressName": customer, "DeliveryAddressDescription": customer, "RequestedShippingDate": day}
    put("quote_headers", fno, "CDSSalesQuotationHeaders", ("SalesQuotationNumber",), **there, **more)
    more = {"DeliveryAddressDescription": text("DeliveryAddress_City"), "RequestedReceiptDate": day}
    more |= {"LineDiscountAmount": pl.col("DiscountAmount")}
    put("quote_lines", fno, "CDSSalesQuotationLines", ("SalesQuotationNumber", FNO_LINE), **there, **more)
