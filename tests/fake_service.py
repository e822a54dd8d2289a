"""Two services in memory behind the client's functions, for tests that must lose an answer at a chosen moment."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from p2c_lib.config import Limits
from p2c_lib.connect import Column, Entity, Lookup, Metadata, Write, Written, literal
from p2c_lib.connect.dialects import dialect
from p2c_lib.connect.literals import body_json
from p2c_lib.connect.session import is_for_all
from p2c_lib.errors import Conflict, ConnectError, NotFound, P2CError
from p2c_lib.sandbox.schema import Schema, load_schema

Hook = Callable[[str, str, Mapping[str, Any]], Exception | None]


# Columns of the template that not every organisation's metadata is sure to have.
EXTRA = {"contacts": {"gendercode": "Edm.Int32", "familystatuscode": "Edm.Int32", "governmentid": "Edm.String"}}


def metadata_of(system: str, **changes: Mapping[str, Any]) -> Metadata:
    """The live metadata of a fake; `changes` are fields of an Entity by its name."""
    schema = load_schema(system)
    return Metadata(system, {name: _entity(schema, name, changes.get(name, {})) for name in schema.entities})


def _entity(schema: Schema, name: str, changes: Mapping[str, Any]) -> Entity:
    raw = schema.entities[name]
    columns = {extra: Column(extra, kind) for extra, kind in EXTRA.get(name, {}).items()}
    for column in raw.columns.values():
        enum = tuple(schema.enums[column.enum]) if column.enum else ()
        columns[column.name] = Column(
            column.name,
            f"Microsoft.Dynamics.DataEntities.{column.enum}" if enum else column.edm_type,
            column.nullable,
            column.length if schema.system == "sales" else None,
            column.precision,
            enum,
            column.name in raw.key,
            column.update,
            column.create,
        )
    sets = {entity.type: entity.name for entity in schema.entities.values()}
    lookups = tuple(
        Lookup(column.name, nav, sets[target], target, schema.entities[sets[target]].key[0])
        for column in raw.columns.values()
        for target, nav in column.binds
    )
    fields = {"columns": columns, "alternate_keys": tuple(raw.alternate_keys.values()), "lookups": lookups, **changes}
    return Entity(name, raw.type, raw.key, **fields)


class FakeClient:
    """One service; `before` and `after` are asked at each write and may give an error to raise there.

    An error of `after` is raised when the work is done: that is a lost answer.
    """

    def __init__(self, system: str, company: str | None = None, parallel: int = 3, metadata: Metadata | None = None):
        self.system, self.company = system, company
        self.root = f"http://127.0.0.1/{system}"
        self.limits = Limits(parallel=parallel)
        self.page_rows = 5000
        self.cache: dict[Any, Any] = {}
        self.known = metadata or metadata_of(system)
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.before: Hook = lambda verb, entity, row: None
        self.after: Hook = lambda verb, entity, row: None
        self.reads = 0
        self.dialect = dialect(system)
        self.said: dict[str, Any] = {}
        self._version = 0
        self._lock = threading.Lock()

    def metadata(self) -> Metadata:
        return self.known

    def data_entity(self, name: str) -> None:
        """No data packages here."""

    def entity(self, name: str) -> Entity:
        return self.known.entity(name)

    def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """A row set, or what was put into `said` for a function."""
        if path in self.said:
            return _answer(self.said[path])
        wanted = (params or {}).get("$filter")
        found = [row for row in self.rows.get(path, []) if not wanted or _holds(self.entity(path), wanted, row)]
        _answer(self.said.get(f"read {path}"))
        return {"value": found}

    def post_action(self, path: str, body: Mapping[str, Any], *, is_safe: bool = False) -> Any:
        """What was put into `said` for an action."""
        return {"value": _answer(self.said[path.rpartition(".")[2]])}

    def take_seconds(self) -> float:
        return 0.0

    def company_filter(self, entity: Entity) -> str | None:
        return f"dataAreaId eq '{self.company}'" if "dataAreaId" in entity.columns else None

    def count_capped(self, entity: str, filter: str | None = None) -> int:
        return len(self.rows.get(entity, []))

    def add(self, entity: str, **values: Any) -> dict[str, Any]:
        with self._lock:
            self._version += 1
            row = {**values, "@odata.etag": f'W/"{self._version}"'}
            for name in self.entity(entity).key:
                row.setdefault(name, f"00000000-0000-0000-0000-{self._version:012d}")
            self.rows.setdefault(entity, []).append(row)
            return row

    def find(self, entity: str, **values: Any) -> list[dict[str, Any]]:
        return [row for row in self.rows.get(entity, []) if all(row.get(k) == v for k, v in values.items())]

    def touch(self, row: dict[str, Any], **values: Any) -> None:
        with self._lock:
            self._version += 1
            row.update(values)
            row["@odata.etag"] = f'W/"{self._version}"'

    def pages(
        self,
        entity: str,
        *,
        select: Sequence[str],
        filter: str | None = None,
        orderby: str | None = None,
        expand: str | None = None,
    ) -> Iterator[bytes]:
        self.reads += 1
        _answer(self.said.get(f"read {entity}"))
        blank = "" if self.system == "fno" else None
        found = []
        for row in self.rows.get(entity, []):
            if filter is None or _holds(self.entity(entity), filter, row):
                found.append(
                    {"@odata.etag": row["@odata.etag"], **{n: self._shown(entity, n, row, blank) for n in select}}
                )
        yield body_json({"@odata.context": "x", "value": found})

    def _shown(self, entity: str, name: str, row: Mapping[str, Any], blank: str | None) -> Any:
        column = self.entity(entity).column(name)
        if self.system == "fno" and column.edm_type in ("Edm.Decimal", "Edm.Int32"):
            return row.get(name, 0)
        return row.get(name, blank)

    def write_each(self, entity: str, writes: Sequence[Write]) -> list[Written | P2CError | None]:
        said: list[Written | P2CError | None] = [None] * len(writes)
        for at, write in enumerate(writes):
            try:
                said[at] = self._one(entity, write)
            except P2CError as error:
                said[at] = error
                if is_for_all(error):
                    break
        return said

    def _one(self, entity: str, write: Write) -> Written:
        if write.verb == "delete":
            return self._write("delete", entity, dict(write.key), lambda: self._delete(entity, write))
        row = json.loads(write.body or b"{}", parse_float=Decimal)
        if write.verb == "create":
            return self._write("create", entity, row, lambda: self._create(entity, row))
        return self._write("update", entity, row, lambda: self._update(entity, write, row))

    def _seen(self, entity: str, write: Write) -> dict[str, Any]:
        found = self.find(entity, **write.key)
        if not found:
            raise NotFound("no such row", status=404)
        if found[0]["@odata.etag"] != write.etag:
            raise Conflict("the row changed", status=412)
        return found[0]

    def _delete(self, entity: str, write: Write) -> dict[str, Any]:
        row = self._seen(entity, write)
        self.rows[entity].remove(row)
        return row

    def _update(self, entity: str, write: Write, changes: Mapping[str, Any]) -> dict[str, Any]:
        row = self._seen(entity, write)
        self.touch(row, **self._kept(entity, changes))
        return row

    def _write(self, verb: str, entity: str, row: dict[str, Any], work: Callable[[], dict[str, Any]]) -> Written:
        self.calls.append((verb, entity, row))
        if error := self.before(verb, entity, row):
            raise error
        done = work()
        if error := self.after(verb, entity, row):
            raise error
        known = self.entity(entity)
        return Written({n: done[n] for n in known.key}, done["@odata.etag"], str(done[known.key[0]]))

    def _create(self, entity: str, row: Mapping[str, Any]) -> dict[str, Any]:
        known = self.entity(entity)
        for key in (known.key, *known.alternate_keys):
            same = {n: row.get(n) for n in key}
            if all(v is not None for v in same.values()) and self.find(entity, **same):
                if self.system == "sales":
                    raise Conflict("A record with matching key values already exists.", status=412)
                raise ConnectError("Infolog: Error: The record already exists.", status=400)
        return self.add(entity, **self._kept(entity, row))

    def _kept(self, entity: str, row: Mapping[str, Any]) -> dict[str, Any]:
        kept = {}
        for name, value in row.items():
            if name.endswith("@odata.bind"):
                lookup = next(x for x in self.entity(entity).lookups if x.nav == name.split("@")[0])
                kept[lookup.column] = value and value[value.index("(") + 1 : -1]
            else:
                kept[name] = value
        return kept


def _answer(said: Any) -> Any:
    if isinstance(said, Exception):
        raise said
    return said


def _holds(entity: Entity, filter: str, row: Mapping[str, Any]) -> bool:
    def compare(match: re.Match[str]) -> str:
        kept = row.get(match[1])
        said = literal(kept, entity.column(match[1]).edm_type)
        is_same = said.casefold() == match[3].casefold()
        return str(is_same if match[2] == "eq" else kept is not None and not is_same)  # null is not unequal to a value

    text = re.sub(r"(\w+) (eq|ne) ('(?:[^']|'')*'|[^\s()]+)", compare, filter)
    assert re.fullmatch(r"(True|False|and|or|[() ])+", text), f"the fake cannot read the filter {filter}"
    return bool(eval(text))
