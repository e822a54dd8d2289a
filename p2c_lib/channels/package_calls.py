"""The actions of F&O's data management as plain calls; those that change nothing are repeated until they answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from p2c_lib.connect import Client, Entity, literal
from p2c_lib.errors import ConnectError, LostAnswer, ServiceError

__all__ = ["LONGEST_PAUSE_S", "Counts", "act", "ask", "counts_of", "download", "label_of", "status_of", "upload"]

LONGEST_PAUSE_S = 5.0
"""Between two looks at an execution, as in the documentation's own sample."""
_GROUPS = "DataManagementDefinitionGroups/Microsoft.Dynamics.DataEntities."
_Said = TypeVar("_Said")


@dataclass(frozen=True)
class Counts:
    """Rows that an execution has made, and rows that were there and were overwritten."""

    created: int
    updated: int


def label_of(client: Client, entity: Entity) -> str | None:
    """Give an entity's name in data management; the service is asked once.

    Args:
        client: Of F&O.
        entity: The set.

    Returns:
        Its label, ``Customers V2``; None where data management is not on for it, it is read-only, or nobody says so.

    Raises:
        ConnectError: Or a child of it.
    """
    place = ("data entity", entity.name)
    if place not in client.cache:
        try:
            said = client.data_entity(entity.name) or {}
        except ConnectError as error:
            if error.status not in (400, 403, 404, 405, 501):
                raise
            said = {}  # who may not read that metadata sends in another way
        is_on = said.get("DataManagementEnabled") is True and not said.get("IsReadOnly")
        client.cache[place] = str(said.get("LabelId") or "") or None if is_on else None
    label: str | None = client.cache[place]
    return label


def act(client: Client, action: str, given: dict[str, Any]) -> Any:
    """Call an action once.

    Args:
        client: Of F&O.
        action: ``ImportFromPackage``.
        given: Its parameters.

    Returns:
        Its ``value``, which some releases wrap twice.

    Raises:
        LostAnswer: It was sent, and whether it was done is not known.
        ConnectError: Or a child of it.
    """
    said = client.post_action(f"{_GROUPS}{action}", given)
    value = said.get("value") if isinstance(said, dict) else said
    return value.get("value") if isinstance(value, dict) and "value" in value else value


def ask(client: Client, action: str, given: dict[str, Any]) -> Any:
    """Call an action that changes nothing, as often as it takes; see `act`.

    Raises:
        ConnectError: Or a child of it, without status when the client's time budget is used up.
    """
    return _patiently(client, lambda: act(client, action, given))


def _patiently(client: Client, once: Callable[[], _Said]) -> _Said:
    again = Retrying(
        retry=retry_if_exception_type((LostAnswer, ServiceError)),
        wait=wait_exponential(multiplier=0.1, max=LONGEST_PAUSE_S),
        stop=stop_after_delay(client.limits.budget_s),
        reraise=True,
    )
    try:
        return again(once)
    except (LostAnswer, ServiceError) as error:
        raise ConnectError(str(error)) from None  # the run stops; what is under way is asked for by the next one


def status_of(client: Client, name: str) -> str | None:
    """Ask for the state of an execution.

    Args:
        client: Of F&O.
        name: The execution.

    Returns:
        NotRun, Executing, Succeeded, PartiallySucceeded, Failed, Canceled or Unknown; None when the service has never
        heard of it.

    Raises:
        ConnectError: Or a child of it.
    """
    try:
        return str(ask(client, "GetExecutionSummaryStatus", {"executionId": name}))
    except ConnectError as error:
        if error.status in (400, 404) and "not found" in str(error):
            return None
        raise


def counts_of(client: Client, name: str) -> Counts | None:
    """Read what the details of an execution count.

    Args:
        client: Of F&O.
        name: The execution.

    Returns:
        The counts, None where the service does not show them.

    Raises:
        ConnectError: Or a child of it.
    """
    try:
        rows = client.get("DataManagementExecutionJobDetails", {"$filter": f"JobId eq {literal(name, 'Edm.String')}"})
        return Counts(
            sum(int(row["TargetRecordsCreatedCount"]) for row in rows["value"]),
            sum(int(row["TargetRecordsUpdatedCount"]) for row in rows["value"]),
        )
    except KeyError:
        return None
    except ConnectError as error:
        if error.status not in (400, 403, 404):
            raise
        return None


def upload(client: Client, name: str, data: bytes) -> str:
    """Bring a file to the service's blob storage, as often as it takes: nothing is done with it yet.

    Args:
        client: Of F&O.
        name: Name of the blob.
        data: The file.

    Returns:
        The blob's address, with its signature.

    Raises:
        ConnectError: Or a child of it.
    """
    what = f"bringing up {name}"
    headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/zip"}

    def once() -> str:
        said = act(client, "GetAzureWriteUrl", {"uniqueFileName": name})
        url = str((json.loads(said) if isinstance(said, str) else said)["BlobUrl"])
        _signed(client, "PUT", url, what, headers, data)
        return url

    return _patiently(client, once)


def download(client: Client, url: str) -> bytes:
    """Fetch a file that the service has made.

    Args:
        client: Of F&O.
        url: Its address, with its signature.

    Returns:
        The file.

    Raises:
        ConnectError: Or a child of it.
    """
    return _patiently(client, lambda: _signed(client, "GET", url, "reading an error file"))


def _signed(
    client: Client, method: str, url: str, what: str, headers: dict[str, str] | None = None, data: bytes | None = None
) -> bytes:
    try:
        answer = client.send_signed(method, url, what=what, headers=headers, content=data)
    except ConnectError as error:
        raise ServiceError(str(error)) from None  # to be repeated
    if answer.status_code not in (200, 201):
        raise ServiceError(f"{what}: the blob storage answered {answer.status_code}", status=answer.status_code)
    return answer.content
