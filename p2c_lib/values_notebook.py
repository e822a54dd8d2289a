"""The calls of the notebook value_maps: values that no map knows, what they could mean, what accepting them changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import polars as pl
from IPython.display import HTML, Markdown

from p2c_lib import overlay_file, workshop
from p2c_lib.config import Profile, home
from p2c_lib.crossref import read_crossref
from p2c_lib.errors import P2CError
from p2c_lib.folder import read_run
from p2c_lib.legs import check_route, templates_for
from p2c_lib.model import Template
from p2c_lib.parameters import check_parameters, profile_for
from p2c_lib.report import with_money
from p2c_lib.show import table, words

__all__ = ["Workshop", "look"]

SHOWN = 50
_FILLED_IN = 90  # score from which a candidate stands in the box before anybody has chosen
_SPACED = "<style>.p2c-values-list td, .p2c-values-list th {padding: 2px 10px}</style>"
EVERY_VALUE = "Every value has an entry in its value map."


class Workshop:
    """The unmapped values of a run. `look` makes it; each method is a cell of the notebook."""

    def __init__(self, folder: Path, profile: Profile, overlay: str, accept: str) -> None:
        self.folder, self._profile = folder, profile
        self._route = check_route(read_run(folder).get("route", "direct"))
        self._overlay = Path(overlay) if overlay else overlay_file.overlay_for(profile.overlays, home())
        self._asked = [overlay_file.entry_of(part) for part in accept.split(";") if part.strip()]
        self._told = ""
        self._look()

    def _look(self) -> None:
        self._templates = self._loaded()
        found = workshop.unmapped_values(self.folder, self._templates)
        known = {
            (name, value)
            for template in self._templates.values()
            for task in template.tasks
            for name, one in task.value_maps.items()
            for value in one.entries
        }
        open_ = [pair not in known for pair in found.select("value_map", "value").iter_rows()]
        self._values = found.filter(pl.Series(open_, dtype=pl.Boolean))
        self._candidates = workshop.candidates(self._values, self._templates, self.folder)

    def _loaded(self) -> dict[str, Template]:
        mine = self._profile.overlays
        if self._overlay.exists() and self._overlay.resolve() not in [path.resolve() for path in mine]:
            mine = (*mine, self._overlay)
        return templates_for(self._profile.model_copy(update={"overlays": mine}), self._route)

    def values(self) -> Any:
        """The values that no value map knows, with rows, money and what they could mean; live, with a way to accept."""
        shown = self._listed()
        return _Live(self, shown) if self._values.height else HTML(shown)

    def _listed(self) -> str:
        if self._values.is_empty():
            return words(EVERY_VALUE)
        told = workshop.with_candidates(self._values, self._candidates)
        rest = f"{told.height - SHOWN:,} more" if told.height > SHOWN else ""
        return table(with_money(told.head(SHOWN)), rest).data or ""

    def preview(self) -> HTML:
        """What would change if every value took the candidate that is the same text; nothing is written."""
        sure = self._candidates.filter(pl.col("score") == 100).unique(["value_map", "value"], keep="none")
        if sure.is_empty():
            return HTML(words("No value has one candidate that is the same text."))
        entries = list(sure.select("value_map", "value", "target").iter_rows())
        note = "with " + ", ".join(f"{name}: {value} = {target}" for name, value, target in sorted(entries))
        then = workshop.with_entries(self._templates, entries)
        return self._effect(then, {name for name, _, _ in entries}, note)

    def accept(self, entries: Sequence[overlay_file.Entry] | None = None) -> HTML:
        """Write what was given as ``accept`` (or here) into the overlay file, and say what it changes.

        Raises:
            P2CError: An entry cannot be accepted, or the file not be written; every fault, and nothing was written.
        """
        asked = self._asked if entries is None else list(entries)
        if not asked:
            return HTML(words("Nothing was accepted: `accept` is empty."))
        columns = workshop.columns_of(self.folder, self._templates)
        done = overlay_file.accept(asked, self._overlay, self._profile.overlays, columns=columns)
        self._told = done.says()
        self._look()
        return self._effect(self._templates, {one.value_map for one in asked}, self._told)

    def _effect(self, templates: Mapping[str, Template], maps: set[str], note: str) -> HTML:
        """What changes in the tasks with these maps, by other templates; what stays as it is is left out."""
        known = read_crossref(self._profile.crossref_file)
        told = workshop.effect(self.folder, templates, maps, crossref=known)
        changed = told.filter(pl.col("before") != pl.col("after"))
        return table(changed, note) if changed.height else HTML(words(f"Nothing changes: {note}"))

    def finish(self) -> Markdown:
        """What is left, and where the entries are."""
        left = self._values.select("value_map", "value").n_unique()
        return Markdown(f"**{left:,} values without an entry.** {self._told}\n\nFiles: `{self.folder}`")


class _Live:
    """The table, with a box and a button for each value where a browser can show them; else the table alone."""

    def __init__(self, shop: Workshop, shown: str) -> None:
        self._shop, self._shown = shop, shown

    def _repr_mimebundle_(self, **how: Any) -> Mapping[str, Any]:
        bundle: dict[str, Any] = dict(_widget(self._shop)._repr_mimebundle_(**how) or {})
        return bundle | {"text/html": self._shown}


def _widget(shop: Workshop) -> Any:
    """A line for each value: its rows, a box with the candidates (any other text may be typed), a button."""
    import ipywidgets as widgets  # type: ignore[import-untyped] # only where something is shown

    status = widgets.HTML().add_class("p2c-values-status")
    listed = widgets.HTML(_SPACED + shop._listed()).add_class("p2c-values-list")
    chooser = widgets.VBox().add_class("p2c-values")

    def lines() -> list[Any]:
        each = shop._values.group_by("value_map", "value", maintain_order=True).agg(pl.col("rows").sum())
        near = shop._candidates.group_by("value_map", "value").agg("target").rows()
        targets = {(name, value): found for name, value, found in near}
        return [
            line(name, value, rows, targets.get((name, value), [])) for name, value, rows in each.head(SHOWN).rows()
        ]

    def line(name: str, value: str, rows: int, targets: list[str]) -> Any:
        label = widgets.HTML(f"<code>{escape(name)}</code>: <b>{escape(value)}</b> ({rows:,} rows)")
        box = widgets.Combobox(options=targets, value=targets[0] if targets else "", ensure_option=False)
        button = widgets.Button(description="Accept", tooltip=f"write into {shop._overlay}")

        def pressed(_: Any) -> None:
            button.disabled = True
            status.value = words("writing, and comparing again what the run has kept ...")
            try:
                if not box.value.strip():
                    raise P2CError(f"choose or type what '{value}' becomes")
                done = shop.accept([overlay_file.Entry(name, value, box.value.strip())])
                status.value = done.data or ""
                listed.value, chooser.children = _SPACED + shop._listed(), lines()
            except P2CError as error:
                status.value = f"<p style='color:#b00020;white-space:pre-wrap'>{escape(str(error))}</p>"
            finally:
                button.disabled = False

        button.on_click(pressed)
        label.layout.width, box.layout.width = "420px", "160px"
        return widgets.HBox([label, box, button])

    chooser.children = lines()
    return widgets.VBox([listed, chooser, status])


def look(*, run: str = "", profile: str = "", company: str = "", overlay: str = "", accept: str = "") -> Workshop:
    """Begin with the unmapped values of a run; nothing is read from either system.

    Args:
        run: The run's folder; "" takes the one that finished last.
        profile: A profile of p2c.toml; "" takes P2C_PROFILE, else the sandbox.
        company: F&O legal entity; "" takes the profile's.
        overlay: The file that accepted entries go to; "" takes the profile's last overlay, else value_maps.yaml.
        accept: Entries to write, ``MAP:VALUE=TARGET``, several with ``;`` between them.

    Raises:
        ParameterError: A value is of another type, or there is no such run.
    """
    given = {"run": run, "profile": profile, "company": company, "overlay": overlay, "accept": accept}
    check_parameters(given, dict.fromkeys(given, str))
    folder = Path(run) if run else workshop.newest(home() / "runs")
    return Workshop(folder, profile_for(profile, company), overlay, accept)
