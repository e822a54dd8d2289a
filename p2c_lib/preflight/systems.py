"""The systems themselves: sign-in, versions, the P2C solution, settings, privileges, columns of the templates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from p2c_lib.connect import literal
from p2c_lib.errors import ConnectError, NotFound, PermissionDenied, SchemaError
from p2c_lib.model import advise_against, check_against
from p2c_lib.preflight.check import Check, Context, facts, judged, listed


def at_least(version: str, minimum: str) -> bool:
    """Whether a dotted version is a minimum or later; numbers, not texts: 10.0 is later than 7.2.

    Args:
        version: Four numbers, or as many as there are; what is no number ends it.
        minimum: Likewise.

    Returns:
        True when equal or later; missing parts are 0.
    """
    ours, theirs = ([int(part) for part in re.findall(r"\d+", text)] for text in (version, minimum))
    for one, other in zip_longest(ours, theirs, fillvalue=0):
        if one != other:
            return one > other
    return bool(ours)


def sign_in(context: Context, system: str) -> Iterator[Check]:
    """Whether the service lets the user in; on F&O also whether it has the company."""
    client = context.clients[system]
    needed = f"a user of {client.dialect.title}"
    if system == "sales":
        user = client.get("WhoAmI")["UserId"]
        yield Check("sign-in", system, "ok", f"signed in as user {user}", needed)
        return
    company = context.company
    wanted = f"LegalEntityId eq {literal(company, 'Edm.String')}"
    try:
        found = client.get("LegalEntities", {"$select": "LegalEntityId", "$filter": wanted})["value"]
    except PermissionDenied as error:
        yield Check("sign-in", system, "ok", "signed in", needed)
        yield Check(
            "company",
            system,
            "by_hand",
            str(error),
            f"company {company}",
            "Organization administration > Legal entities",
        )
        return
    yield Check("sign-in", system, "ok", "signed in", needed)
    yield judged(
        bool(found),
        "company",
        system,
        f"company {company}" if found else f"no company {company}",
        f"company {company}",
        "set fno.company of the profile; Organization administration > Organizations > Legal entities lists them",
    )


def fno_versions(context: Context) -> Iterator[Check]:
    """Application, platform and, where the application alone does not prove it, the hotfix."""
    rules = facts()["fno"]
    client = context.clients["fno"]

    def ask(what: str) -> str:
        said = client.post_action(f"DataManagementEntities/Microsoft.Dynamics.DataEntities.{what}", {}, is_safe=True)
        return str(said["value"])

    application, platform = ask("GetApplicationVersion"), ask("GetPlatformBuildVersion")
    yield judged(
        at_least(application, rules["application"]),
        "application version",
        "fno",
        application,
        f"{rules['application']} or later",
        f"update the environment in Lifecycle Services; {rules['path']}",
    )
    later = at_least(application, rules["release_with_hotfix"])
    minimum = rules["platform_of_that_release"] if later else rules["platform"]
    yield judged(
        at_least(platform, minimum),
        "platform version",
        "fno",
        platform,
        f"{minimum} or later" + (f" with application {rules['release_with_hotfix']} and later" if later else ""),
        f"update the platform in Lifecycle Services; {rules['path']}",
    )
    needed = f"{rules['hotfix']}, or release {rules['release_with_hotfix']} and later, which contain it"
    if later:
        yield Check("hotfix", "fno", "ok", f"contained in {application}", needed)
    elif at_least(application, rules["application"]):
        yield Check(
            "hotfix", "fno", "by_hand", f"{application} alone does not tell", needed, f"look for it: {rules['path']}"
        )
    else:
        yield Check("hotfix", "fno", "failed", f"{application} is too old for it", needed, "update the environment")


def sales_version(context: Context) -> Iterator[Check]:
    """The version of Sales."""
    rules = facts()["sales"]
    version = str(context.clients["sales"].get("RetrieveVersion()")["Version"])
    good = at_least(version, rules["version"])
    needed = f"{rules['version']} or later"
    yield judged(good, "version", "sales", version, needed, f"update the organisation; {rules['path']}")


def solution(context: Context) -> Iterator[Check]:
    """The P2C solution: its version, its columns, its keys."""
    rules = facts()["solution"]
    client = context.clients["sales"]
    wanted = f"uniquename eq {literal(rules['name'], 'Edm.String')}"
    found = client.get("solutions", {"$select": "uniquename,version", "$filter": wanted})["value"]
    version = str(found[0]["version"]) if found else ""
    needed = f"{rules['version']} or later; {rules['version_for_direct']} or later for direct templates"
    get_it = f"import the solution {rules['name']}; {rules['path']}"
    if version and at_least(version, rules["version"]) and not at_least(version, rules["version_for_direct"]):
        yield Check(
            "P2C solution", "sales", "warning", version, needed, f"update it for direct templates; {rules['path']}"
        )
    else:
        good = bool(version) and at_least(version, rules["version"])
        yield judged(good, "P2C solution", "sales", version or "not installed", needed, get_it)
    for entity, columns in rules["columns"].items():
        missing = [name for name in columns if name not in client.entity(entity).columns]
        yield judged(
            not missing,
            f"columns of the solution: {entity}",
            "sales",
            f"missing: {listed(missing)}" if missing else listed(columns),
            listed(columns),
            get_it,
        )
    for entity, columns in rules["keys"].items():
        keys = client.entity(entity).alternate_keys
        yield judged(
            tuple(columns) in keys,
            f"key of {entity}",
            "sales",
            "; ".join(listed(key) for key in keys) or "no active key",
            f"an active key on {listed(columns)}",
            f"two rows can share a number: activate the key; {rules['path']} > {entity} > Keys",
            "warning",
        )
    for entity, columns in rules["keys_of_old"].items():
        there = tuple(columns) in client.entity(entity).alternate_keys
        yield judged(
            not there,
            f"key of {entity}",
            "sales",
            f"unique on {listed(columns)}" if there else "not unique by the service",
            "none: it stands in the way of a later move to dual-write",
            "keep it while only P2C runs; the last build of the solution drops it",
            "warning",
        )


def settings(context: Context) -> Iterator[Check]:
    """Settings of the Sales organisation that prices depend on."""
    rules = facts()["settings"]
    columns = [rule["column"] for rule in rules]
    row: dict[str, Any] = context.clients["sales"].get("organizations", {"$select": ",".join(columns)})["value"][0]
    for rule in rules:
        value, words = row.get(rule["column"]), rule.get("says", {True: "Yes", False: "No"})
        yield judged(
            value == rule["wanted"] and value is not None,
            rule["name"],
            "sales",
            str(words.get(value, value)),
            str(words[rule["wanted"]]),
            rule["remedy"],
            rule["status"],
        )


def read_privileges(context: Context) -> Iterator[Check]:
    """Whether one row of each entity set of the templates can be read."""
    sets = dict.fromkeys(
        (side.system, side.entity) for task in context.tasks for side in (task.source, task.destination)
    )
    for system, name in sets:
        client = context.clients[system]
        needed = "read privilege"
        try:
            key = client.entity(name).key
            client.get(name, {"$select": ",".join(key), "$top": "1", **client.dialect.params})
        except PermissionDenied as error:
            yield Check(
                f"read {name}", system, "failed", str(error), needed, f"give the user a role that can read {name}"
            )
        except (ConnectError, SchemaError) as error:
            yield Check(f"read {name}", system, "failed", str(error), needed, "see what was found")
        else:
            yield Check(f"read {name}", system, "ok", "can be read", needed)


def sales_write_privileges(context: Context) -> Iterator[Check]:
    """Create and write privileges in Sales, as far as the service tells; nothing is written to find out."""
    client = context.clients["sales"]
    sets = dict.fromkeys(task.destination.entity for task in context.tasks if task.destination.system == "sales")
    remedy = "Settings > Security > Users > the user > Manage roles"
    try:
        user = client.get("WhoAmI")["UserId"]
        said = client.get(f"systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()")
        names = {str(entry["PrivilegeName"]).lower() for entry in said["RolePrivileges"]}
    except (NotFound, ConnectError, KeyError) as error:
        if isinstance(error, ConnectError) and error.status not in (400, 404, 501):
            raise
        for name in sets:
            yield Check(f"write {name}", "sales", "by_hand", "the service does not tell", "create and write", remedy)
        return
    for name in sets:
        kind = client.entity(name).type_name
        kind = facts()["privileges"].get(kind, kind.capitalize())
        missing = [verb for verb in ("Create", "Write") if f"prv{verb}{kind}".lower() not in names]
        found = f"missing: {listed([f'prv{verb}{kind}' for verb in missing])}" if missing else "granted"
        yield judged(not missing, f"write {name}", "sales", found, "create and write", remedy)


def fno_write_privileges(context: Context) -> Iterator[Check]:
    """F&O tells nobody what a user may write; only a write would."""
    for name in dict.fromkeys(t.destination.entity for t in context.tasks if t.destination.system == "fno"):
        yield Check(
            f"write {name}",
            "fno",
            "by_hand",
            "the service does not tell",
            "create and update",
            "System administration > Users > the user > Assign roles; Security configuration shows its entities",
        )


def templates(context: Context) -> Iterator[Check]:
    """Every column of every template against the live metadata."""
    for task in context.tasks:
        source = context.clients[task.source.system].entity(task.source.entity)
        destination = context.clients[task.destination.system].entity(task.destination.entity)
        problems = check_against(task, source, destination)
        advice = advise_against(task, source, destination)
        needed = "all columns, with fitting types"
        name, system = f"template {task.name}", task.destination.system
        count = f"{len(task.fields)} fields fit"
        if problems:
            yield Check(name, system, "failed", listed(problems, 10), needed, "correct the template in an overlay")
        else:
            yield judged(
                not advice,
                name,
                system,
                listed([count, *advice], 6),
                needed,
                "declare truncate in an overlay, or leave it: too long values are reported",
                "warning",
            )
