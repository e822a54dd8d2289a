"""What a template says: its parts, how they are read, and whether they fit the live systems."""

from p2c_lib.model.load import find_task, load_templates, load_texts
from p2c_lib.model.parts import (
    TRANSFORMS,
    Condition,
    FieldMap,
    Parent,
    Side,
    System,
    Task,
    Template,
    ValueMap,
)

__all__ = [
    "TRANSFORMS",
    "Condition",
    "FieldMap",
    "Parent",
    "Side",
    "System",
    "Task",
    "Template",
    "ValueMap",
    "find_task",
    "load_templates",
    "load_texts",
]
