"""The OData client of one system: its metadata, its rows, and single writes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, Literal
from urllib.parse import quote

import httpx

from p2c_lib.config import Profile
from p2c_lib.connect.literals import body_json, literal, query_string
from p2c_lib.connect.metadata import Entity, Metadata, parse_csdl, with_definitions
from p2c_lib.connect.session import Session, is_for_all
from p2c_lib.connect.writes import Write, Written, call_of, written
from p2c_lib.errors import ConfigError, ConnectError, NotFound, P2CError, ServiceError

__all__ = ["Client", "connect"]

SALES_COUNT_CAP = 5000
"""Dataverse counts no further in one request."""
_NEXT = re.compile(rb'"@odata\.nextLink"\s*:\s*("(?:[^"\\]|\\.)*")')


class Client(Session):
    """One system. Use it as a context manager, or call `close`."""

    def get(self, path: str, params: dict[str, str] | None = None) -> dict[str, Any]:
        """Read one JSON object.

        Args:
            path: Below the API's root, percent-encoded: ``WhoAmI``, ``accounts(0000...)``.
            params: Query options, not yet percent-encoded.

        Returns:
            The object; numbers with a point are Decimals with every digit.

        Raises:
            ConnectError: Or a child of it.
        """
        return self._json(self._send("GET", path, what=f"reading {path.partition('?')[0]}", params=params))

    def post_action(self, path: str, body: Mapping[str, Any], *, is_safe: bool = False) -> Any:
        """Call an action; it is not repeated when its answer is lost, unless it changes nothing.

        Args:
            path: Below the API's root, e.g. ``WinQuote``.
            body: Its parameters.
            is_safe: It only tells something, such as a version: as good as a read.

        Returns:
            The JSON answer, None when there is none (204).

        Raises:
            LostAnswer: It was sent, and whether it was done is not known.
            ConnectError: Or a child of it.
        """
        response = self._send("POST", path, what=f"calling {path}", body=body_json(body), is_safe=is_safe)
        return self._json(response) if response.content else None

    # --- metadata ---------------------------------------------------------------------------------------------

    def metadata(self) -> Metadata:
        """Read what the service says of its entity sets, once.

        Returns:
            The metadata; an entity is completed (on Sales by its EntityDefinitions) when it is first asked for.

        Raises:
            ConnectError: Or a child of it.
        """
        with self._metadata_lock:
            if self._metadata is None:
                response = self._send(
                    "GET", "$metadata", what="reading $metadata", headers={"Accept": "application/xml"}
                )
                enrich = self._definitions if self.system == "sales" else None
                try:
                    self._metadata = parse_csdl(response.content, self.system, enrich)
                except ServiceError as error:
                    raise ServiceError(f"{error}; is {self.root} the root of {self.dialect.title}?") from None
            return self._metadata

    def entity(self, name: str) -> Entity:
        """Give one entity set of the metadata.

        Args:
            name: Name of the set.

        Returns:
            The entity set.

        Raises:
            SchemaError: There is none of that name; the message names near matches.
        """
        return self.metadata().entity(name)

    def data_entity(self, name: str) -> dict[str, Any] | None:
        """Read what F&O's metadata service says of a set beyond ``$metadata``.

        Args:
            name: Name of the set.

        Returns:
            ``DataManagementEnabled``, ``Name`` (in X++), ``LabelId`` and more; None when the service knows no such set.
            A ``LabelId`` that is no text (``@SYS1``) is looked up in English.

        Raises:
            ConnectError: Or a child of it.
        """
        url = f"{self.root}/metadata/DataEntities"
        query = query_string({"$filter": f"PublicCollectionName eq {literal(name, 'Edm.String')}"})
        what = f"reading the metadata of {name}"
        rows = self._json(self._ask(f"{url}?{query}", what).result()).get("value") or []
        if not rows:
            return None
        said = dict(rows[0])
        if str(said.get("LabelId", "")).startswith("@"):
            key = f"Id={quote(literal(said['LabelId'], 'Edm.String'), safe=chr(39))},Language='en-us'"
            label = self._json(self._ask(f"{self.root}/metadata/Labels({key})", what).result())
            said["LabelId"] = label.get("Value", "")
        return said

    def _definitions(self, entity: Entity) -> Entity:
        """Lengths, decimal places and keys, which Dataverse's CSDL leaves out; one request each, all at once."""
        head = f"EntityDefinitions(LogicalName='{entity.type_name}')"
        cast = "Attributes/Microsoft.Dynamics.CRM."
        asked = {
            "": ("", "LogicalName,MetadataId"),
            "attributes": ("Attributes", "LogicalName,AttributeType,RequiredLevel,IsValidForCreate,IsValidForUpdate"),
            "String": (f"{cast}StringAttributeMetadata", "LogicalName,MaxLength"),
            "Memo": (f"{cast}MemoAttributeMetadata", "LogicalName,MaxLength"),
            "Money": (f"{cast}MoneyAttributeMetadata", "LogicalName,Precision"),
            "Decimal": (f"{cast}DecimalAttributeMetadata", "LogicalName,Precision"),
            "keys": ("Keys", "LogicalName,KeyAttributes,EntityKeyIndexStatus"),
        }
        waiting = {
            name: self._ask(
                f"{self.base}/{head}{'/' if part else ''}{part}?{query_string({'$select': columns})}",
                f"reading the definition of {entity.name}",
            )
            for name, (part, columns) in asked.items()
        }
        try:
            said = {name: self._json(future.result()) for name, future in waiting.items()}
        except NotFound:
            return entity  # a set without a definition (a function's or an activity's base type): CSDL is all there is
        tables: dict[str, list[dict[str, Any]]] = {
            "attributes": said["attributes"]["value"],
            "lengths": [*said["String"]["value"], *said["Memo"]["value"]],
            "precisions": [*said["Money"]["value"], *said["Decimal"]["value"]],
            "keys": said["keys"]["value"],
        }
        return with_definitions(entity, tables, said[""].get("MetadataId"))

    # --- reading ----------------------------------------------------------------------------------------------

    def count(self, entity: str, filter: str | None = None) -> int:
        """Count rows exactly, as far as the service allows without reading them all.

        Args:
            entity: Name of the set.
            filter: OData filter.

        Returns:
            Rows; on F&O of all companies unless the filter names one.

        Raises:
            ConnectError: Or a child of it.
        """
        counted = self.count_capped(entity, filter)
        if self.system == "fno" or counted < SALES_COUNT_CAP:
            return counted
        apply = (f"filter({filter})/" if filter else "") + "aggregate($count as n)"
        try:
            found = int(self.get(entity, {"$apply": apply})["value"][0]["n"])
        except (KeyError, IndexError):
            found = 0
        except ConnectError as error:
            if error.status not in (400, 404, 501):
                raise
            found = 0
        if found >= counted:
            return found
        # Past 50,000 rows Dataverse refuses to aggregate: count the rows' ids.
        ids = self.entity(entity).key
        return sum(page.count(b'"@odata.etag"') for page in self.pages(entity, select=ids, filter=filter))

    def count_capped(self, entity: str, filter: str | None = None) -> int:
        """Count rows in one request; on Sales 5,000 means 5,000 or more.

        Args:
            entity: Name of the set.
            filter: OData filter.

        Returns:
            Rows.

        Raises:
            ConnectError: Or a child of it.
        """
        params = {**({"$filter": filter} if filter else {}), **self.dialect.params}
        response = self._send("GET", f"{entity}/$count", what=f"counting {entity}", params=params)
        text = response.content.decode("utf-8-sig", "replace").strip()
        if not text.isdigit():
            raise ServiceError(f"counting {entity}: the answer is no number: {text[:80]}", status=response.status_code)
        return int(text)

    def pages(
        self,
        entity: str,
        *,
        select: Sequence[str],
        filter: str | None = None,
        orderby: str | None = None,
        expand: str | None = None,
    ) -> Iterator[bytes]:
        """Read a set page by page; the next page is on its way while the caller works on one.

        Args:
            entity: Name of the set.
            select: Columns.
            filter: OData filter.
            orderby: OData order; the key by default, so that no row is skipped between pages.
            expand: OData expand.

        Returns:
            Bodies as sent, at least one.

        Raises:
            ConnectError: Or a child of it; a next link to another host is refused.
        """
        params = {"$select": ",".join(select)}
        if filter:
            params["$filter"] = filter
        params["$orderby"] = orderby or ",".join(self.entity(entity).key)
        if expand:
            params["$expand"] = expand
        url = f"{self.base}/{entity}?{query_string({**params, **self.dialect.params})}"
        return self._pages(entity, url)

    def _pages(self, entity: str, url: str) -> Iterator[bytes]:
        what = f"reading {entity}"
        headers = {"Prefer": f"odata.maxpagesize={self.page_rows}"}
        waiting: Future[httpx.Response] | None = self._ask(url, what, headers)
        try:
            while waiting is not None:
                body = waiting.result().content
                link = _next_link(body)
                waiting = None
                if link is not None:
                    following = self.dialect.follow(link, url, self.base)
                    if following == url:
                        raise ServiceError(f"{what}: a page names itself as the next one")
                    url = following
                    waiting = self._ask(url, what, headers)
                yield body
        finally:
            if waiting is not None:
                waiting.cancel()

    # --- writing ----------------------------------------------------------------------------------------------

    def create(self, entity: str, row: Mapping[str, Any]) -> Written:
        """Create a row; it is never sent twice unless the service said that it did nothing.

        Args:
            entity: Name of the set.
            row: Property to value; lookups on Sales as ``"nav@odata.bind": "/set(id)"``.

        Returns:
            The new row's key and etag.

        Raises:
            LostAnswer: It was sent, and whether it was created is not known: look it up.
            ConnectError: Or a child of it, when the service refused.
        """
        key = {name: row.get(name) for name in self.entity(entity).key}
        return self._write(self.entity(entity), Write("create", key, body_json(row, noon=self.system == "fno")))

    def update(self, entity: str, key: Mapping[str, Any], changes: Mapping[str, Any], etag: str | None) -> Written:
        """Change a row that exists; it is not sent twice when its answer is lost.

        Args:
            entity: Name of the set.
            key: Its key, or on Sales an alternate key.
            changes: Property to new value; the others stay.
            etag: Etag seen when the change was decided; None changes the row whatever became of it, but never creates.

        Returns:
            The row's key, and its new etag when the service tells (Sales does, F&O not always).

        Raises:
            Conflict: The row changed since that etag.
            NotFound: There is no such row.
            LostAnswer: It was sent, and whether it was done is not known.
            ConnectError: Or a child of it.
        """
        body = body_json(changes, noon=self.system == "fno")
        return self._write(self.entity(entity), Write("update", key, body, etag))

    def delete(self, entity: str, key: Mapping[str, Any], etag: str | None) -> None:
        """Delete a row.

        Args:
            entity: Name of the set.
            key: Its key.
            etag: Etag seen when it was decided; None deletes the row whatever became of it.

        Raises:
            Conflict: The row changed since that etag.
            NotFound: There is no such row.
            LostAnswer: It was sent, and whether it was done is not known.
            ConnectError: Or a child of it.
        """
        self._write(self.entity(entity), Write("delete", key, etag=etag))

    def write_each(self, entity: str, writes: Sequence[Write]) -> list[Written | P2CError | None]:
        """Write rows, one call each, as many at once as may be; none is sent twice when its answer is lost.

        Args:
            entity: Name of the set.
            writes: What is written.

        Returns:
            What became of each: what `create`, `update` or `delete` would give or raise. After an error that other
            calls would meet as well (no sign-in, no answer, no allowance left) no more are sent: None.

        Raises:
            SchemaError: There is no such set.
        """
        known = self.entity(entity)
        said: list[Written | P2CError | None] = [None] * len(writes)
        todo: SimpleQueue[int] = SimpleQueue()
        for at in range(len(writes)):
            todo.put(at)
        is_over = threading.Event()

        def lane() -> float:
            while not is_over.is_set():
                try:
                    at = todo.get_nowait()
                    said[at] = self._write(known, writes[at])
                except Empty:
                    break
                except P2CError as error:
                    said[at] = error
                    if is_for_all(error):
                        is_over.set()
            return self.take_seconds()

        lanes = max(1, min(self.limits.parallel, len(writes)))
        with ThreadPoolExecutor(lanes, thread_name_prefix=f"p2c-{self.system}") as pool:
            took = [future.result() for future in [pool.submit(lane) for _ in range(lanes)]]
        self._add_seconds(max(took))
        return said

    def _write(self, known: Entity, write: Write) -> Written:
        call = call_of(self.dialect, known, write)
        answer = self._send(
            call.method, call.path, what=call.what, params=call.params, headers=call.headers, body=write.body
        )
        said = self._json(answer) if answer.content and write.verb != "delete" else {}
        return written(self.dialect, known, write, said, answer.headers)

    def company_filter(self, entity: Entity) -> str | None:
        """Write the filter that keeps a read to the client's company.

        Args:
            entity: The set to be read.

        Returns:
            ``dataAreaId eq 'usmf'``, None where rows belong to no company.
        """
        if self.company is None or "dataAreaId" not in entity.columns:
            return None
        return f"dataAreaId eq {literal(self.company, 'Edm.String')}"


def connect(profile: Profile, system: Literal["sales", "fno"]) -> Client:
    """Make the client of one system of a profile.

    Args:
        profile: Where the system is and how to sign in.
        system: ``"sales"`` or ``"fno"``.

    Returns:
        The client; the first request is sent when it is used.

    Raises:
        ConfigError: The system is unknown, or the authorities' file cannot be read.
    """
    if system not in ("sales", "fno"):
        raise ConfigError(f"no system '{system}'; known: fno, sales")
    return Client(
        system,
        profile.sales.url if system == "sales" else profile.fno.url,
        profile.auth,
        profile.limits,
        company=profile.fno.company if system == "fno" else None,
        verify=profile.verify,
        ca_file=profile.ca_file,
    )


def _next_link(body: bytes) -> str | None:
    """The page's next link; a key of that name cannot stand inside a JSON text, where its quotes would be escaped."""
    at = len(body)
    while (at := body.rfind(b'"@odata.nextLink"', 0, at)) >= 0:
        if found := _NEXT.match(body, at):  # a value of that text has no colon behind it
            return str(json.loads(found[1]))
    return None
