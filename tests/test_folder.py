"""A run's folder: made, put together, read again."""

import json
import os

import pytest

from p2c_lib import folder as folders
from p2c_lib.config import Profile
from p2c_lib.errors import ConnectError, ParameterError
from p2c_lib.places import forget, plan_folder, task_folder, working_folder

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
    plan, frames = plan_folder(made), task_folder(made, "accounts")
    plan.mkdir()
    (plan / "journal.jsonl").write_text("{}\n")
    frames.mkdir()
    folders.create(made, PROFILE, {})
    assert not frames.exists()
    assert (plan / "journal.jsonl").exists() and plan_folder(made) != plan


def test_a_plan_inside_a_run_of_an_earlier_version_is_kept_too(tmp_path):
    made = folders.create(tmp_path / "run", PROFILE, {}, apart=False)
    plan_folder(made).mkdir()
    (made / "plan" / "journal.jsonl").write_text("{}\n")
    first = folders.read_run(made)["run_id"]
    folders.create(made, PROFILE, {})
    assert (made / f"plan-{first}" / "journal.jsonl").exists()


def test_working_data_is_apart_from_what_is_handed_over_and_for_its_owner_alone(tmp_path):
    made = folders.create(tmp_path / "run", PROFILE, {})
    place = working_folder(made)
    assert tmp_path not in place.parents and sorted(path.name for path in made.iterdir()) == ["run.json"]
    if os.name == "posix":
        assert {path.stat().st_mode & 0o777 for path in (place, place.parent)} == {0o700}


def test_a_run_that_came_from_another_machine_says_where_its_working_data_is(tmp_path, monkeypatch):
    made = folders.create(tmp_path / "run", PROFILE, {})
    monkeypatch.setenv("P2C_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(ParameterError, match="stay on the machine that made it"):
        plan_folder(made)
    folders.create(made, PROFILE, {})  # and can be replaced
    assert plan_folder(made).parent.parent == tmp_path / "elsewhere" / ".p2c" / "private"


@pytest.mark.parametrize("name", ["../../secrets", "/etc", "run/../..", "a b", "", 7])
def test_a_name_of_working_data_leads_nowhere_else(tmp_path, name):
    (tmp_path / "run.json").write_text(json.dumps({"working": name}))
    with pytest.raises(ParameterError, match="is no name"):
        working_folder(tmp_path)


def test_forgetting_a_run_removes_its_working_data_and_keeps_what_is_handed_over(tmp_path):
    made = folders.create(tmp_path / "run", PROFILE, {})
    (working_folder(made) / "tasks" / "rows").write_bytes(b"12345")
    assert forget(made) == 5
    assert (made / "run.json").exists()
    with pytest.raises(ParameterError, match="let go of by p2c forget"):
        working_folder(made)


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
    cause = "a service could not be reached, or refused"
    assert run["tasks"][0]["error"] == f"{cause} (ConnectError): no route to 127.0.0.1:1"
    assert "left no result" in run["tasks"][1]["error"]
    assert run["exit_code"] == 2
    assert json.loads((made / "run.json").read_text()) == run


def test_a_folder_without_a_run_says_what_to_give(tmp_path):
    with pytest.raises(ParameterError, match="give the folder that `p2c run` printed"):
        folders.read_run(tmp_path)
