"""Templates as plain rows, for people to read: on the command line and in notebooks."""

from __future__ import annotations

from collections.abc import Mapping

from p2c_lib.model.parts import FieldMap, Task, Template
from p2c_lib.model.values import Quirk

_ROLES: Mapping[str, list[str]] = {
    "sync": [],
    "computed": ["never sent"],
    "worth": ["not compared"],
    "unfilled": ["not filled, not compared"],
}


def all_tasks(templates: Mapping[str, Template]) -> list[Task]:
    """Every task, in the order of running.

    Args:
        templates: As `load_templates` gives them.

    Returns:
        The tasks.
    """
    return [task for template in templates.values() for task in template.tasks]


def describe(template: Template) -> list[dict[str, str]]:
    """A template as plain rows, one a field, for a table on the command line.

    Args:
        template: The template.

    Returns:
        ``task``, ``destination``, ``from`` (the rule in words), ``compared`` (how), ``confidence``, ``note``, ``quirk``
        (what is odd about it, known and no error).
    """
    rows = []
    for task in template.tasks:
        odd: dict[str, list[str]] = {}
        for field, quirk in task.quirks():
            odd.setdefault(field.destination, []).append(quirk_text(quirk))
        for field in task.fields:
            marks = [*field.normalise, *(["lookup"] if field.lookup else []), *(["money"] if field.money else [])]
            marks += [f"tolerance {field.tolerance}"] if field.tolerance is not None else []
            marks += _ROLES[field.role]
            marks += ["personal"] if field.personal else []
            marks += [f"or {value}" for value in field.also]
            marks += [f"without {column}" for column in field.without]
            sure = {field.confidence, field.transform_confidence}
            rows.append(
                {
                    "task": task.name,
                    "destination": field.destination + (" (key)" if field.destination in task.key else ""),
                    "from": rule_text(field),
                    "compared": ", ".join(marks),
                    "confidence": "confirmed" if sure == {"confirmed"} else "inferred",
                    "note": field.note,
                    "quirk": "; ".join(odd.get(field.destination, [])),
                }
            )
    return rows


def rule_text(field: FieldMap) -> str:
    """A field's rule in words: ``address1_country by country_to_iso, blank: USA``.

    Args:
        field: The field map.

    Returns:
        The words.
    """
    text = field.source or ""
    match field.map:
        case "default":
            text = f"always '{field.value}'" + (f" (profile: {field.setting})" if field.setting else "")
        case "default_if_blank":
            text += f", blank: '{field.value}'"
        case "value_map":
            text += f" by {field.value_map}"
            text += f", blank: '{field.blank_default}'" if field.blank_default is not None else ""
        case "transform":
            text = ", ".join([*([] if field.steps()[0].columns else [text]), *field.transform])
    return text + (f", first {field.truncate} characters" if field.truncate else "")


def quirk_text(quirk: Quirk) -> str:
    """A quirk in words: ``street line 2 of the bill-to address (one would expect shipto_line2)``.

    Args:
        quirk: The quirk.

    Returns:
        The words.
    """
    values = dict.fromkeys(quirk.entries.values())
    keys = {value: [key or "a blank" for key, other in quirk.entries.items() if other == value] for value in values}
    better = quirk.instead or "; ".join(f"{value} for {', '.join(names)}" for value, names in keys.items())
    return quirk.says + (f" (one would expect {better})" if better else "")


def list_rows(templates: Mapping[str, Template]) -> list[dict[str, str]]:
    """All tasks as plain rows, for a table on the command line.

    Args:
        templates: As `load_templates` gives them.

    Returns:
        ``task``, ``title``, ``route`` (direct, or cds with the leg: ``cds 1``), ``from``, ``to``, ``after``
        (prerequisites), ``flows when`` (the filter), ``fields``.
    """
    return [
        {
            "task": task.name,
            "title": template.title,
            "route": " ".join([template.generation, *([str(task.leg)] if task.leg else [])]),
            "from": f"{task.source.system}.{task.source.entity}",
            "to": f"{task.destination.system}.{task.destination.entity}",
            "after": ", ".join(template.prerequisites),
            "flows when": " and ".join(condition.name for condition in task.filter) or "always",
            "fields": str(len(task.fields)),
        }
        for template in templates.values()
        for task in template.tasks
    ]
