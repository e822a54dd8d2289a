"""A run's folder: made, put together, read again."""

import json

import pytest

from p2c_lib import folder as folders
from p2c_lib.config import Profile
from p2c_lib.errors import ConnectError, ParameterError

PROFILE = Profile.model_validate(
    {
        "name": "here",
        "sales": {"url": "http://127.0.0.1:1"},
        "fno": {"url": "http://127.0.0.1:2"},
        "auth": {"kind": "token", "token": "s3cret-token"},
        "threshold": 2,
    }
)


def facts(task: str, **counts: int) -> dict:
    return {"task": task, "matched": 1, "mismatched": 0, "missing": 0, "extra": 0, "excluded": 5, "blocked": 0} | counts


def test_no_secret_of_the_profile_is_written(tmp_path):
    made = folders.create(tmp_path / "run", PROFILE, {"tasks": ["accounts"]})
    assert "s3cret" not in (made / "run.json").read_text()
    assert folders.read_run(made)["company"] == "usmf"


def test_a_folder_with_something_else_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(ParameterError, match="holds no run"):
        folders.create(tmp_path, PROFILE, {})
    assert (tmp_path / "thesis.docx").exists()


def test_a_second_run_into_a_folder_replaces_the_first_but_keeps_its_plan(tmp_path):
    made = folders.create(tmp_path / "run", PROFILE, {})
    first = folders.read_run(made)["run_id"]
    (made / "plan").mkdir()
    (made / "plan" / "journal.jsonl").write_text("{}\n")
    (made / "tasks" / "accounts").mkdir()
    folders.create(made, PROFILE, {})
    assert not (made / "tasks" / "accounts").exists()
    assert (made / f"plan-{first}" / "journal.jsonl").exists()


@pytest.mark.parametrize(
    ("tasks", "code"),
    [
        pytest.param([facts("accounts")], 0, id="in step; excluded rows are no difference"),
        pytest.param([facts("accounts", missing=1), facts("contacts", blocked=1)], 0, id="at the threshold"),
        pytest.param([facts("accounts", missing=2, extra=1)], 1, id="past the threshold"),
        pytest.param([facts("accounts"), {"task": "contacts", "error": "x"}], 2, id="a task failed"),
    ],
)
def test_exit_code_tells_in_step_from_differing_from_failed(tasks, code):
    assert folders.exit_code({"tasks": tasks, "threshold": 2}) == code


def test_a_failed_task_and_one_without_a_result_stand_in_run_json(tmp_path):
    made = folders.create(tmp_path / "run", PROFILE, {})
    folders.save_failure(made, "accounts", ConnectError("no route to 127.0.0.1:1"))
    run = folders.finish(made, ["accounts", "contacts"])
    assert (
        run["tasks"][0]["error"] == "a service could not be reached, or refused (ConnectError): no route to 127.0.0.1:1"
    )
    assert "left no result" in run["tasks"][1]["error"]
    assert run["exit_code"] == 2
    assert json.loads((made / "run.json").read_text()) == run


def test_a_folder_without_a_run_says_what_to_give(tmp_path):
    with pytest.raises(ParameterError, match="give the folder that `p2c run` printed"):
        folders.read_run(tmp_path)
