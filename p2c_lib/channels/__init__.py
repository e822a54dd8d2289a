"""Ways to send: row by row, Sales' bulk actions, ``$batch`` of both services, data packages of F&O.

A channel takes a `Chunk` (a frame of actions and a frame of their properties) and answers for every action of it.
`p2c_lib.apply` cuts the chunks, keeps the journal, and looks up what is in doubt.
"""

from p2c_lib.channels.base import ACTIONS, ANSWERS, CELLS, Channel, Chunk, Verb
from p2c_lib.channels.bodies import json_object, json_text
from p2c_lib.channels.choice import CHANNELS, FEW, Estimate, check_name, choose, estimate, offered
from p2c_lib.channels.single import told

__all__ = [
    "ACTIONS",
    "ANSWERS",
    "CELLS",
    "CHANNELS",
    "FEW",
    "Channel",
    "Chunk",
    "Estimate",
    "Verb",
    "check_name",
    "choose",
    "estimate",
    "json_object",
    "json_text",
    "offered",
    "told",
]
