"""The store between two systems: Delta Lake tables of CDS entities, on disk or in a lake; open to Spark and DuckDB."""

from p2c_lib.store.client import StoreClient, connect_store
from p2c_lib.store.entities import RUN_ID, STAGED_AT, Declared, load_entities

__all__ = ["RUN_ID", "STAGED_AT", "Declared", "StoreClient", "connect_store", "load_entities"]
