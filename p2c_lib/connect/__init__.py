"""The OData client of both systems: sign-in, patience, paging, and what each dialect wants."""

from p2c_lib.connect.client import Client, Written, connect
from p2c_lib.connect.literals import key_path, literal
from p2c_lib.connect.metadata import Column, Entity, Lookup, Metadata
from p2c_lib.connect.transport import Stats

__all__ = [
    "Client",
    "Column",
    "Entity",
    "Lookup",
    "Metadata",
    "Stats",
    "Written",
    "connect",
    "key_path",
    "literal",
]
