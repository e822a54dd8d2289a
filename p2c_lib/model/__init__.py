"""What a template says: its parts, how they are read, and whether they fit the live systems."""

from p2c_lib.model.fit import advise_against, check_against, kind_of, read_constant, with_lengths
from p2c_lib.model.load import find_task, load_templates, load_texts, with_settings
from p2c_lib.model.parts import (
    TRANSFORMS,
    Evidence,
    FieldMap,
    FreightTax,
    Parent,
    Route,
    Side,
    Step,
    Task,
    Template,
    TieOut,
)
from p2c_lib.model.tables import all_tasks, describe, list_rows, rule_text
from p2c_lib.model.values import Condition, Quirk, System, ValueMap

__all__ = [
    "TRANSFORMS",
    "Condition",
    "Evidence",
    "FieldMap",
    "FreightTax",
    "Parent",
    "Quirk",
    "Route",
    "Side",
    "Step",
    "System",
    "Task",
    "Template",
    "TieOut",
    "ValueMap",
    "advise_against",
    "all_tasks",
    "check_against",
    "describe",
    "find_task",
    "kind_of",
    "list_rows",
    "load_templates",
    "load_texts",
    "read_constant",
    "rule_text",
    "with_lengths",
    "with_settings",
]
