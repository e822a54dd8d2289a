"""The OData client of both systems: sign-in, patience, paging, and what each dialect wants."""

from p2c_lib.connect.answers import retry_after
from p2c_lib.connect.client import Client, connect
from p2c_lib.connect.dialects import Problem
from p2c_lib.connect.literals import key_path, literal
from p2c_lib.connect.metadata import Column, Entity, Lookup, Metadata
from p2c_lib.connect.session import is_for_all
from p2c_lib.connect.transport import Stats
from p2c_lib.connect.writes import Write, Written

__all__ = [
    "Client",
    "Column",
    "Entity",
    "Lookup",
    "Metadata",
    "Problem",
    "Stats",
    "Write",
    "Written",
    "connect",
    "is_for_all",
    "key_path",
    "literal",
    "retry_after",
]
