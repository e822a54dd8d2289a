"""The browser that tests use: it opens JupyterLab, runs a notebook, and does not let a page reach outside."""

import pytest
from browser import lab, needs_chromium, page, run_all, shot
from nbformat import v4
from nbformat import write as write_notebook


@needs_chromium
def test_a_notebook_runs_in_jupyterlab_and_shows_a_widget_that_answers(tmp_path):
    cell = """import ipywidgets
told = ipywidgets.HTML("not pressed")
press = ipywidgets.Button(description="press")
press.on_click(lambda _: setattr(told, "value", "pressed"))
ipywidgets.VBox([press, told])"""
    book = v4.new_notebook(cells=[v4.new_code_cell("6 * 7"), v4.new_code_cell(cell)])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    write_notebook(book, tmp_path / "one.ipynb")
    with lab(tmp_path) as place, page() as (tab, seen):
        place.open(tab, "one.ipynb")
        run_all(tab)
        tab.wait_for_selector('.jp-OutputArea-output:has-text("42")')
        tab.click('button:text-is("press")')
        tab.wait_for_selector('.widget-html:has-text("pressed"):not(:has-text("not"))')
        shot(tab, "jupyterlab")
    assert seen.requests and not seen.strays


@needs_chromium
def test_a_page_that_asks_for_anything_outside_fails_its_test(tmp_path):
    (tmp_path / "stray.html").write_text('<img src="http://outside.invalid/picture.png">')
    with pytest.raises(AssertionError, match=r"outside\.invalid/picture\.png"), page() as (tab, seen):
        tab.set_content((tmp_path / "stray.html").read_text())
    assert any("ERR_NAME_NOT_RESOLVED" in error for error in seen.errors)
