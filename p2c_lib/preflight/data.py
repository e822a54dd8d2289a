"""The data both systems must hold before rows can flow: units, currencies, price lists, constants, clean keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from p2c_lib.errors import P2CError
from p2c_lib.model import FieldMap, Task
from p2c_lib.money import decimal_places
from p2c_lib.preflight.check import Check, Context, facts, judged, listed, unread
from p2c_lib.pull import pull
from p2c_lib.readings import Asked
from p2c_lib.write.lookups import resolve


@dataclass(frozen=True)
class _Values:
    """What a field can send: ``used`` by the rows that are there, ``other`` only if such a row comes; and the source
    values ``unmapped`` that its value map does not know."""

    used: tuple[str, ...]
    other: tuple[str, ...]
    unmapped: tuple[str, ...]


def asked(tasks: Sequence[Task]) -> list[Asked]:
    """What the questions below will read of the sets that tasks bring rows from or to, a line a question and set."""
    rules = facts()
    lines = []
    for task in tasks:
        source, columns = task.source, _constant_columns(task) if task.destination.system == "fno" else _lookups(task)
        lines.append(Asked(f"values of {task.name}", source.system, source.entity, columns))
        lines.append(Asked(f"keys of {task.name}", source.system, source.entity, list(task.key.values())))
        lines.append(
            Asked(f"its keys in {task.name}", task.destination.system, task.destination.entity, list(task.key))
        )
    for system, entity in dict.fromkeys((task.source.system, task.source.entity) for task in tasks):
        if system == "sales":
            lines.append(Asked(f"price lists of {entity}", system, entity, [rules["price_lists"]["currency"]]))
    return [line for line in lines if line.columns]


def _constant_columns(task: Task) -> list[str]:
    rules = facts()["references"]
    return list(dict.fromkeys(field.source for field in task.fields if field.destination in rules and field.source))


def _lookup_fields(task: Task) -> list[FieldMap]:
    # What points to rows that tasks bring is no setup; comparing says which of those are missing.
    return [field for field in task.fields if "." in field.destination and not field.parent]


def _lookups(task: Task) -> list[str]:
    return list(dict.fromkeys(field.source for field in _lookup_fields(task) if field.source))


def _distinct(
    context: Context, system: str, entity: str, columns: list[str]
) -> tuple[Mapping[str, pl.Series], list[Check]]:
    """Distinct values of columns as text, nulls among them; none, and a failed check, where they cannot be read."""
    client = context.clients[system]
    try:
        frame = pull(client, entity, columns, readings=context.readings) if columns else pl.DataFrame()
    except P2CError as error:
        return {}, [unread(f"values of {entity}", client.system, error)]
    return {name: frame[name].cast(pl.String).unique().sort() for name in columns}, []


def _values(task: Task, field: FieldMap, there: pl.Series | None) -> _Values:
    values = [] if there is None else there.to_list()
    texts = [value for value in values if value is not None and value.strip()]
    blank = len(texts) < len(values)
    constant = [field.value] if field.value is not None else []
    if field.map == "default":
        return _Values(tuple(constant), (), ())
    if field.map == "value_map":
        entries = task.value_maps[str(field.value_map)].entries
        known = {text.strip().lower() for text in texts}
        if blank and field.blank_default is None:
            known.add("")
        used = [str(target) for key, target in entries.items() if key.strip().lower() in known]
        if field.blank_default is not None and blank:
            used.append(field.blank_default)
        other = [str(target) for target in entries.values() if str(target) not in used]
        keys = {key.strip().lower() for key in entries}
        lost = [text for text in texts if text.strip().lower() not in keys]
        return _Values(tuple(dict.fromkeys(used)), tuple(dict.fromkeys(other)), tuple(lost))
    return _Values(tuple(dict.fromkeys([*texts, *constant])), (), ())


def constants(context: Context) -> Iterator[Check]:
    """Constants and values of value maps that F&O must know, in the company: groups, sites, warehouses, currencies."""
    rules = facts()["references"]
    known: dict[str, set[str]] = {}
    silent: set[str] = set()  # sets that could not be read: nothing can be said of their values
    seen: set[tuple[str, str]] = set()
    for task in (task for task in context.tasks if task.destination.system == "fno"):
        fields = [field for field in task.fields if field.destination in rules]
        there, unreadable = _distinct(context, task.source.system, task.source.entity, _constant_columns(task))
        yield from unreadable
        for field in fields:
            rule, values = rules[field.destination], _values(task, field, there.get(field.source or ""))
            if rule["entity"] not in known:
                frame, unreadable = _distinct(context, "fno", rule["entity"], [rule["column"]])
                yield from unreadable
                known[rule["entity"]] = {
                    str(value).strip().lower() for name in frame for value in frame[name].drop_nulls()
                }
                if unreadable:
                    silent.add(rule["entity"])
            if rule["entity"] in silent:
                continue
            for value, status in [*((v, "failed") for v in values.used), *((v, "warning") for v in values.other)]:
                if (rule["entity"], value) in seen:
                    continue
                seen.add((rule["entity"], value))
                is_there = value.strip().lower() in known[rule["entity"]]
                yield judged(
                    is_there,
                    f"{field.destination} {value}",
                    "fno",
                    f"{'is' if is_there else 'not'} in {rule['entity']}",
                    f"{field.destination} '{value}', which the template {task.template or task.name} sends",
                    f"make it ({rule['path']}), or change the template in an overlay",
                    "failed" if status == "failed" else "warning",
                )
            if values.unmapped:
                yield _unmapped(task, field, values)


def _unmapped(task: Task, field: FieldMap, values: _Values) -> Check:
    named = [f"{text!r}" for text in values.unmapped]
    shown = f"{len(named)} values, not shown as they are personal" if field.personal else listed(named)
    return Check(
        f"value map {field.value_map}",
        task.source.system,
        "warning",
        f"{field.source} of {task.source.entity} without an entry: {shown}",
        "an entry for every value",
        "extend the value map in an overlay; rows with such a value are held back",
    )


def lookups(context: Context) -> Iterator[Check]:
    """Units, unit groups and currencies that Sales must know, by name."""
    rules = facts()["references"]
    for task in (task for task in context.tasks if task.destination.system == "sales"):
        client = context.clients["sales"]
        entity = client.entity(task.destination.entity)
        fields = _lookup_fields(task)
        there, unreadable = _distinct(context, task.source.system, task.source.entity, _lookups(task))
        yield from unreadable
        fixed = {f.destination: f.value for f in fields if f.map == "default"}
        rows: list[dict[str, str | None]] = []
        asked: list[tuple[FieldMap, str, bool]] = []
        for field in fields:
            values = _values(task, field, there.get(field.source or ""))
            for value, used in [*((v, True) for v in values.used), *((v, False) for v in values.other)]:
                asked.append((field, value, used))
                rows.append({**{f.destination: None for f in fields}, **fixed, field.destination: value})
            if values.unmapped:
                yield _unmapped(task, field, values)
            if field.source in rules and field.map == "value_map":
                yield _known_at_source(context, task, field, rules[field.source])
        schema = {field.destination: pl.String for field in fields}
        paths = [field.destination for field in fields]
        found = resolve(client, client.metadata(), entity, paths, pl.DataFrame(rows, schema=schema))
        for number, (field, value, used) in enumerate(asked):
            problem = found[field.destination].problems[number]
            if found[field.destination].several[number] and any(f.parent for f in task.fields):
                problem = None  # which of them is meant, the row's product says
            yield judged(
                problem is None,
                f"{field.destination} {value}",
                "sales",
                problem or "is there, once",
                f"'{value}', which the template {task.template or task.name} sends",
                "make it in Sales, or change constant or value map in an overlay",
                "failed" if used else "warning",
            )


def _known_at_source(context: Context, task: Task, field: FieldMap, rule: Mapping[str, str]) -> Check:
    frame = pull(context.clients["fno"], rule["entity"], [rule["column"]])
    known = {str(value).strip().lower() for value in frame[rule["column"]].drop_nulls()}
    entries = [key for key in task.value_maps[str(field.value_map)].entries if key]
    strangers = [key for key in entries if key.strip().lower() not in known]
    return judged(
        not strangers,
        f"{rule['entity']} of value map {field.value_map}",
        "fno",
        f"not in {rule['entity']}: {listed(strangers)}" if strangers else f"all {len(entries)} are there",
        "every source value of the map exists",
        f"harmless; take them out of the map, or make them: {rule['path']}",
        "warning",
    )


def price_lists(context: Context) -> Iterator[Check]:
    """A valid price list in every currency that products are in; without one the product's row is refused."""
    rule = facts()["price_lists"]
    sales = context.clients["sales"]
    tasks = [task for task in context.tasks if task.destination.entity == rule["products"]]
    today = datetime.now(UTC).date()
    columns = ["name", "statecode", "begindate", "enddate", rule["currency"]]
    valid = pull(sales, rule["entity"], columns).filter(
        pl.col("statecode") == 0,
        pl.col("begindate").is_null() | (pl.col("begindate").cast(pl.Date) <= today),
        pl.col("enddate").is_null() | (pl.col("enddate").cast(pl.Date) >= today),
    )
    by_name = pl.col("name").str.to_lowercase()  # as the service sorts
    first = dict(valid.sort(by_name, descending=True).select(rule["currency"], "name").iter_rows())
    used: dict[str, bool] = {}
    for task in tasks:
        field = task.field(rule["currency"])
        columns = [field.source] if field.source else []
        there, unreadable = _distinct(context, task.source.system, task.source.entity, columns)
        yield from unreadable
        used |= dict.fromkeys(_values(task, field, there.get(field.source or "")).used, True)
    # Products entered in Sales, and the customers that quotes and orders are written for.
    own = dict.fromkeys([rule["products"], *(t.source.entity for t in context.tasks if t.source.system == "sales")])
    for entity in own:
        there, unreadable = _distinct(context, "sales", entity, [rule["currency"]])
        yield from unreadable
        used = {code: False for values in there.values() for code in values.drop_nulls()} | used
    for currency in sorted(used, key=lambda code: (not used[code], code)):
        yield judged(
            currency in first,
            f"price list {currency}",
            "sales",
            f"first by name: {first[currency]}" if currency in first else f"no valid price list in {currency}",
            f"a price list in {currency}",
            f"make one: {rule['path']}; products, quotes and orders in that currency are refused without it",
            "failed" if used[currency] else "warning",
        )


def decimals(context: Context) -> Iterator[Check]:
    """Whether Sales keeps all decimals of each of its currencies, in prices and in amounts."""
    rules = facts()["decimals"]
    sales = context.clients["sales"]
    prices, amounts = (rules[name]["column"] for name in ("prices", "amounts"))
    organisation = pull(sales, "organizations", [prices])[prices].to_list()
    known = pull(sales, "transactioncurrencies", ["isocurrencycode", amounts]).select("isocurrencycode", amounts)
    for currency, own in known.drop_nulls("isocurrencycode").unique("isocurrencycode").sort("isocurrencycode").rows():
        places = decimal_places(currency)
        for what, kept in (("prices", organisation[0]), ("amounts", own)):
            yield judged(
                kept is not None and kept >= places,
                f"decimals of {what} in {currency}",
                "sales",
                "not set" if kept is None else f"{kept} decimals are kept",
                f"{places}, as {currency} has; others are rounded away, and F&O differs",
                rules[what]["remedy"].format(currency=currency, places=places),
                "warning",
            )


def keys(context: Context) -> Iterator[Check]:
    """Blank and repeated keys, compared as the services compare them: trimmed, without case."""
    places: dict[tuple[str, ...], None] = {}
    for task in context.tasks:
        places[task.source.system, task.source.entity, *task.key.values()] = None
        places[task.destination.system, task.destination.entity, *task.key] = None
    for system, entity, *columns in places:
        try:
            frame = pull(context.clients[system], entity, columns, readings=context.readings)
        except P2CError as error:
            yield unread(f"no repeated {', '.join(columns)} of {entity}", system, error)
            continue
        parts = [pl.col(name).cast(pl.String).str.strip_chars().fill_null("") for name in columns]
        whole = frame.select(key=pl.concat_str(parts, separator="|"), blank=pl.any_horizontal([p == "" for p in parts]))
        there = whole.filter(~pl.col("blank"))
        groups = there.group_by(pl.col("key").str.to_lowercase().alias("same")).agg(pl.col("key").min(), rows=pl.len())
        repeated = groups.filter(pl.col("rows") > 1)["key"].sort().to_list()
        name = f"{', '.join(columns)} of {entity}"
        yield judged(
            not repeated,
            f"no repeated {name}",
            system,
            f"{len(repeated)} repeated: {listed(repeated)}" if repeated else f"{there.height} keys, each once",
            "each number once",
            "merge or renumber the rows: Settings > Data management > Duplicate detection helps to find them"
            if system == "sales"
            else "renumber the rows",
        )
        blank = int(whole["blank"].sum())
        if blank:
            words = "rows without a number are never sent; save them again in Sales to have them numbered"
            yield Check(f"no blank {name}", system, "warning", f"{blank} rows without", "a number in each row", words)
