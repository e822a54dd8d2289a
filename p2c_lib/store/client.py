"""The store as one more system: what a task asks of a service it can ask of the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from p2c_lib.config import Limits, Profile, home
from p2c_lib.connect.metadata import Entity, Metadata
from p2c_lib.connect.pages import ETAG
from p2c_lib.store.entities import RUN_ID, STAGED_AT
from p2c_lib.store.rows import etag

if TYPE_CHECKING:
    from p2c_lib.store.tables import Store

__all__ = ["StoreClient", "connect_store"]


class StoreClient:
    """The store behind the interface of `connect.Client`, as far as reading and describing go; writing is `store`'s."""

    system: Literal["cds"] = "cds"
    company: None = None

    def __init__(self, store: Store, limits: Limits | None = None) -> None:
        """Wrap a store.

        Args:
            store: Which.
            limits: Kept for those who ask a client for them; reading the store has none.
        """
        self.store = store
        self.root = store.url
        self.limits = limits or Limits()
        self.cache: dict[Any, Any] = {}

    def __enter__(self) -> StoreClient:
        """Use it as a context manager, as one does with a client."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held open."""

    @cached_property
    def _metadata(self) -> Metadata:
        entities: Mapping[str, Entity] = {name: declared.entity for name, declared in self.store.entities.items()}
        return Metadata("cds", entities)

    def metadata(self) -> Metadata:
        """What the store declares of its entities."""
        return self._metadata

    def entity(self, name: str) -> Entity:
        """Give one entity; SchemaError where there is none, with near matches."""
        return self._metadata.entity(name)

    def pull(
        self,
        entity: str,
        columns: Sequence[str],
        *,
        where: pl.Expr | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> pl.DataFrame:
        """Read rows of the organisation, as `p2c_lib.pull.pull` reads them of a service.

        Args:
            entity: Which.
            columns: Those wanted.
            where: Rows wanted, over the entity's columns.
            progress: Called with the rows read.

        Returns:
            A row a staged row: the entity's key, ``@odata.etag`` (it changes with every change of the row), and the
            columns asked for.

        Raises:
            SchemaError: A column does not exist, or the table is not as declared.
        """
        names = list(dict.fromkeys([*self.entity(entity).key, *(name for name in columns if name != ETAG)]))
        wanted = list(dict.fromkeys([*names, STAGED_AT, RUN_ID]))
        rows = self.store.read(entity, wanted, where=where).with_columns(etag())
        if progress is not None:
            progress(rows.height)
        key = self.entity(entity).key
        return rows.select(*key, ETAG, *(name for name in names if name not in key))


def connect_store(profile: Profile) -> StoreClient:
    """Make the client of a profile's store.

    Args:
        profile: Where the store is and whose rows are meant; by default ``.p2c/store`` at home.

    Returns:
        The client; nothing is read or made until it is used.
    """
    from p2c_lib.store.tables import Store  # Delta Lake is heavy; who only looks at a run never needs it

    options = {name: secret.get_secret_value() for name, secret in profile.store.options.items()}
    where: str | Path = profile.store.url or home() / ".p2c" / "store"
    return StoreClient(Store.open(where, profile.organization, options=options), profile.limits)
