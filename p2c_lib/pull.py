"""An entity set to a frame, with the dtypes of the live metadata; several pages at once where the set is large."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from threading import Event, Lock

import polars as pl

from p2c_lib.connect.client import SALES_COUNT_CAP, Client
from p2c_lib.connect.literals import literal
from p2c_lib.connect.metadata import Entity, Lookup
from p2c_lib.connect.pages import ETAG, MONEY, dtype, rows
from p2c_lib.errors import SchemaError
from p2c_lib.paths import LookupPath, lookup_path
from p2c_lib.readings import Readings
from p2c_lib.store.client import StoreClient

__all__ = ["ETAG", "MONEY", "LookupPath", "lookup_path", "pull"]

Progress = Callable[[int], None]

_NO_DATE = datetime(1900, 1, 1, tzinfo=UTC)


def pull(
    client: Client | StoreClient,
    entity: str,
    columns: Sequence[str],
    *,
    filter: str | None = None,
    parts: Sequence[str] = (),
    progress: Progress | None = None,
    readings: Readings | None = None,
    few: bool = False,
) -> pl.DataFrame:
    """Read rows of an entity set.

    Args:
        client: Of the system to read; on F&O only rows of its company are read, in the store only those of its
            organisation.
        entity: Name of the set, e.g. ``accounts``.
        columns: Properties, lookup columns (``_x_value``), or paths over a lookup:
            ``transactioncurrencyid.isocurrencycode``, or by the target that is set:
            ``parentcustomerid.Account(accountnumber).Contact(msdynce_contactnumber)``.
        filter: OData filter in the service's own words; the store has none.
        parts: Filters beside it, each row wanted in exactly one of them: these parts are read, several at once.
        progress: Called with the rows read so far, from any thread, never two at a time.
        readings: What the run has read already; sets that it shares come from there unless a filter narrows them.
        few: The filter lets few rows through: they are not counted first, to be read in parts.

    Returns:
        A row a row of the set. Columns: the entity's key and ``@odata.etag``, then those asked for, each under the
        name asked for. Texts, Guids and enums are String, decimals `MONEY`, moments Datetime("us", "UTC"). F&O's
        ``""`` and 1900-01-01 are null: that is how X++ writes nothing.

    Raises:
        SchemaError: A column or path does not exist (the message names near matches), or a value does not fit it.
        ConnectError: Or a child of it.
    """
    if isinstance(client, StoreClient):
        if filter is not None or parts:
            raise SchemaError(f"cds {entity}: the store takes no OData filter, {filter or parts[0]}")
        return client.pull(entity, columns, progress=progress)
    known = client.entity(entity)
    paths = [lookup_path(client, known, name) for name in dict.fromkeys(columns) if "." in name and name != ETAG]
    plain = [name for name in columns if "." not in name]
    wanted = list(dict.fromkeys([*known.key, *plain, *(lookup.column for path in paths for lookup in path.lookups)]))
    schema = {**{name: _dtype(known, name) for name in wanted}, ETAG: pl.String()}
    frame = _taken(client, known, schema, progress, readings) if readings and not filter and not parts else None
    if frame is None:
        where = _and(client.company_filter(known), filter)
        split = parts or ((None,) if few else ())
        frame = _read(client, known, schema, where, progress, split)
    fresh = _read_together(client, paths, readings) if frame.height else set()
    for path in paths:
        frame = _resolve(client, frame, path, fresh)
    return frame.select(list(dict.fromkeys([*known.key, ETAG, *columns])))


def _dtype(known: Entity, name: str) -> pl.DataType:
    try:
        return dtype(known.column(name))
    except SchemaError as error:
        nav = next(
            (lookup for lookup in known.lookups if lookup.nav == name or lookup.column == f"_{name}_value"), None
        )
        hint = f"; it is a lookup: read {nav.column}, or {name}.<column of {nav.target}>" if nav else ""
        raise SchemaError(f"{error}{hint}") from None


def _and(*filters: str | None) -> str | None:
    parts = [part for part in filters if part]
    return parts[0] if len(parts) == 1 else " and ".join(f"({part})" for part in parts) or None


# --- paths over lookups -------------------------------------------------------------------------------------------


def _resolve(client: Client, frame: pl.DataFrame, path: LookupPath, fresh: set[_Place]) -> pl.DataFrame:
    """Join the referenced sets; a row that leads nowhere gets null."""
    values: list[pl.Series] = []
    for lookup, column in zip(path.lookups, path.columns, strict=True):
        place = _place(client, lookup, column)
        names = _referenced(client, lookup, column)
        asked = frame[lookup.column]
        if place not in fresh and not asked.drop_nulls().is_in(names["id"].implode()).all():
            client.cache.pop(place, None)  # rows may have been made since it was read
            names = _referenced(client, lookup, column)
        fresh.add(place)
        joined = asked.to_frame().join(
            names, left_on=lookup.column, right_on="id", how="left", maintain_order="left", validate="m:1"
        )
        values.append(joined["value"])
    merged = pl.select(pl.coalesce(values)).to_series() if len(values) > 1 else values[0]
    return frame.with_columns(merged.alias(path.name))


_Place = tuple[str, str, str, str]


def _place(client: Client, lookup: Lookup, column: str) -> _Place:
    return "referenced", lookup.target, lookup.target_key or client.entity(lookup.target).key[0], column


def _read_together(client: Client, paths: Sequence[LookupPath], readings: Readings | None) -> set[_Place]:
    """Read the columns that several paths take from one set in one go; gives the places that are fresh now."""
    wanted: dict[tuple[str, str], dict[_Place, None]] = {}
    for path in paths:
        for lookup, column in zip(path.lookups, path.columns, strict=True):
            place = _place(client, lookup, column)
            if place not in client.cache:
                wanted.setdefault(place[1:3], {})[place] = None
    for (target, key), places in wanted.items():
        frame = pull(client, target, [key, *(place[3] for place in places)], readings=readings)
        for place in places:
            client.cache[place] = frame.select(pl.col(key).alias("id"), pl.col(place[3]).alias("value"))
    return {
        place
        for (target, _), places in wanted.items()
        for place in places
        if readings is None or not readings.columns(client.system, target)
    }


def _referenced(client: Client, lookup: Lookup, column: str) -> pl.DataFrame:
    """Two columns, ``id`` and ``value``, of a referenced set; kept as long as the client and no unknown id comes."""
    place = _place(client, lookup, column)
    if place not in client.cache:
        frame = pull(client, lookup.target, [place[2], column])
        client.cache[place] = frame.select(pl.col(place[2]).alias("id"), pl.col(column).alias("value"))
    found: pl.DataFrame = client.cache[place]
    return found


# --- reading ------------------------------------------------------------------------------------------------------


def _taken(
    client: Client,
    known: Entity,
    schema: dict[str, pl.DataType],
    progress: Progress | None,
    readings: Readings,
) -> pl.DataFrame | None:
    """Rows of a set that the run shares; None for other sets, and where more columns are wanted than are shared."""
    names = readings.columns(client.system, known.name)
    if not {*names, ETAG} >= set(schema):
        return None
    whole = {**{name: _dtype(known, name) for name in names}, ETAG: pl.String()}
    frame = readings.take(
        client.system,
        known.name,
        list(schema),
        lambda: _read(client, known, whole, client.company_filter(known), progress),
    )
    if progress is not None:
        progress(frame.height)
    return frame


class _Tally:
    """Rows so far over all chains."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._rows = 0
        self._lock = Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._rows += count
            if self._progress is not None:
                self._progress(self._rows)


def _read(
    client: Client,
    known: Entity,
    schema: dict[str, pl.DataType],
    filter: str | None,
    progress: Progress | None,
    given: Sequence[str | None] = (),
) -> pl.DataFrame:
    tally = _Tally(progress)
    parts = list(given) or _parts(client, known, filter)
    is_over = Event()

    def chain(part: str | None) -> pl.DataFrame:
        select = [name for name in schema if name != ETAG]
        frames: list[pl.DataFrame] = []
        for body in client.pages(known.name, select=select, filter=_and(filter, part)):
            frame = rows(body, schema, f"{client.system} {known.name}")
            tally.add(frame.height)
            frames.append(_without_nothings(frame) if client.system == "fno" else frame)
            if is_over.is_set():
                break
        return pl.concat(frames, rechunk=False)

    if len(parts) == 1:
        frames = [chain(parts[0])]
    else:
        with ThreadPoolExecutor(client.limits.parallel, thread_name_prefix=f"pull-{known.name}") as pool:
            waiting = [pool.submit(chain, part) for part in parts]
            try:
                done, pending = wait(waiting, return_when=FIRST_EXCEPTION)
            finally:
                # One chain failed, or the user interrupted: the others end at their next page. All done: no effect.
                is_over.set()
                for future in waiting:
                    future.cancel()
            frames = [future.result() for future in (done if pending else waiting)]
    return _once_each(pl.concat(frames), known, client.system)


def _once_each(frame: pl.DataFrame, known: Entity, system: str) -> pl.DataFrame:
    """Leave out rows that came twice: while others write, a row may move to a page that is still to come.

    On Sales the id tells; on F&O only rows alike in everything, etag too, are one: an entity that repeats a key is to
    be found out, not put right here.
    """
    telling = list(known.key) if system == "sales" and known.key else None
    if frame.select(telling or [*known.key, ETAG]).n_unique() == frame.height:
        return frame  # nearly always, and far cheaper to tell than by every column
    return frame.unique(subset=telling, keep="last", maintain_order=True)


def _without_nothings(frame: pl.DataFrame) -> pl.DataFrame:
    """X++ knows no null: an empty text or 1 January 1900 stands for it."""
    moments = pl.selectors.datetime()
    return frame.with_columns(
        pl.when(pl.selectors.string() != "").then(pl.selectors.string()),
        pl.when(moments.dt.date() != _NO_DATE.date()).then(moments),
    )


# --- parts to read side by side -----------------------------------------------------------------------------------


def _parts(client: Client, known: Entity, filter: str | None) -> list[str | None]:
    """Filters that split the rows into parts, each row in exactly one; ``[None]`` when splitting is not worth it."""
    if client.limits.parallel < 2 or not known.key:
        return [None]
    count = client.count_capped(known.name, filter)
    if count <= 2 * client.page_rows and not (client.system == "sales" and count >= SALES_COUNT_CAP):
        return [None]
    if client.system == "fno":
        return _key_ranges(client, known, filter, count)
    return _time_ranges(client, known, filter)


def _key_ranges(client: Client, known: Entity, filter: str | None, count: int) -> list[str | None]:
    """Ranges of the key's first column beside the company, their bounds looked up at even distances."""
    column = next((name for name in known.key if name != "dataAreaId"), None)
    if column is None:
        return [None]
    edm_type = known.columns[column].edm_type
    if known.columns[column].enum or edm_type not in ("Edm.String", "Edm.Int32", "Edm.Int64"):
        return [None]  # enums know no order in filters
    number = min(client.limits.parallel, -(-count // client.page_rows))
    base = {"$select": column, "$orderby": ",".join(known.key), "$top": "1", **client.dialect.params}
    if filter:
        base["$filter"] = filter

    def bound(place: int) -> str | None:
        found = client.get(known.name, {**base, "$skip": str(place)})["value"]
        value = found[0][column] if found else None
        # A star would be taken for a wildcard, an empty text for null.
        return None if value in (None, "") or "*" in str(value) else literal(value, edm_type)

    with ThreadPoolExecutor(client.limits.parallel) as pool:
        bounds = [text for text in pool.map(bound, [count * i // number for i in range(1, number)]) if text]
    return list(_between(column, list(dict.fromkeys(bounds))))


def _between(column: str, bounds: Sequence[str]) -> Iterator[str | None]:
    """Half-open ranges that leave nothing out: the first has no lower bound, the last no upper one."""
    if not bounds:
        yield None
        return
    yield f"{column} lt {bounds[0]}"
    for low, high in pairwise(bounds):
        yield f"{column} ge {low} and {column} lt {high}"
    yield f"{column} ge {bounds[-1]}"


def _time_ranges(client: Client, known: Entity, filter: str | None) -> list[str | None]:
    """Ranges of ``createdon``, halved where they hold many rows; Dataverse has no $skip to look up bounds with."""
    column = known.columns.get("createdon")
    if column is None or column.edm_type != "Edm.DateTimeOffset":
        return [None]
    edges = []
    for order in ("asc", "desc"):
        params = {"$select": "createdon", "$orderby": f"createdon {order}", "$top": "1"}
        params["$filter"] = _and(filter, "createdon ne null") or ""
        found = client.get(known.name, params)["value"]
        if not found:
            return [None]
        edges.append(datetime.fromisoformat(found[0]["createdon"]))
    bounds = _bounds(client, known, filter, edges[0], edges[1])
    nulls = ["createdon eq null"] if column.nullable else []
    return [*_between("createdon", [literal(moment, column.edm_type) for moment in bounds]), *(nulls if bounds else [])]


def _bounds(client: Client, known: Entity, filter: str | None, first: datetime, last: datetime) -> list[datetime]:
    """Moments between which about a page of rows was created, as far as counts of at most 5,000 tell."""
    second = timedelta(seconds=1)
    wanted = 4 * client.limits.parallel

    def split(low: datetime, high: datetime, number: int) -> list[datetime]:
        steps = {low + (high - low) * i / number for i in range(1, number)}
        return sorted(step.replace(microsecond=0) for step in steps if low < step.replace(microsecond=0) < high)

    def is_full(span: tuple[datetime, datetime]) -> bool:
        low, high = (literal(moment, "Edm.DateTimeOffset") for moment in span)
        within = _and(filter, f"createdon ge {low} and createdon lt {high}")
        return client.count_capped(known.name, within) >= SALES_COUNT_CAP

    bounds = split(first, last + second, client.limits.parallel)
    with ThreadPoolExecutor(client.limits.parallel) as pool:
        fresh = list(zip([first, *bounds], [*bounds, last + second], strict=True))
        while fresh and len(bounds) < wanted:
            # Rows of a bulk load stand close together in time: look closer where it is crowded.
            full = [span for span, crowded in zip(fresh, pool.map(is_full, fresh), strict=True) if crowded]
            fresh = []
            for low, high in full:
                inner = split(low, high, 4)
                bounds += inner
                fresh += list(zip([low, *inner], [*inner, high], strict=True)) if inner else []
    return sorted(set(bounds))
