"""The app's server and what its pages open: nothing without the token, no code, no file, no other run; else words."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import lxml.html
import psutil
import pytest
from app_server import App
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from p2c_lib import app_cli, app_page
from p2c_lib import folder as folders
from p2c_lib.config import Profile
from p2c_lib.errors import ConfigError, ParameterError
from p2c_lib.folder import write_json

NOWHERE = Profile.model_validate(
    {"name": "sandbox", "sales": {"url": "http://127.0.0.1:1"}, "fno": {"url": "http://127.0.0.1:2"},
     "auth": {"kind": "sandbox"}}
)  # fmt: skip
COUNTS = {"source_rows": 5, "destination_rows": 4, "matched": 2, "mismatched": 1, "missing": 2, "extra": 1,
          "excluded": 0, "blocked": 0, "quirks": 0, "seconds": 0.1}  # fmt: skip


def make_run(folder: Path, **changes: object) -> Path:
    """A run that came to its end, with nothing in it but what a list shows."""
    folders.create(folder, NOWHERE, {})
    run = folders.finish(folder, [])
    write_json(folder / "run.json", run | changes)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    place = tmp_path_factory.mktemp("home")
    make_run(place / "runs" / "one")
    (place / "runs" / "one" / "secret.txt").write_text("of nobody's business")
    return place


@pytest.fixture(scope="module")
def app(home):
    served = App(home, "--port", "0")
    try:
        yield served
    finally:
        served.stop()


@pytest.fixture(scope="module")
def cookie(app):
    """What a browser keeps once it has opened the address with the token."""
    answer = app.get(f"/?token={app.token}&run=one")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/?run=one")  # kernels and history see no token
    kept = answer.headers["Set-Cookie"]
    assert "HttpOnly" in kept and "SameSite=Lax" in kept and app.token not in kept
    return kept.partition(";")[0]


@pytest.fixture(scope="module")
def pages(app, cookie):
    """Two pages opened at once."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda path: app.get(path, Cookie=cookie), ["/", "/?run=one"]))


def config(page: httpx.Response) -> dict:
    return json.loads(lxml.html.fromstring(page.text).get_element_by_id("jupyter-config-data").text)


KERNEL = "/api/kernels/86f699c3-1508-4ca1-975a-b48da7000f5a"  # one for all workers
PATHS = ["/", "/?run=one", "/voila/static/voila.js", "/voila/templates/lab/static/index.css",
         "/voila/labextensions/anywidget/package.json", "/voila/api/themes/x", "/voila/files/app.ipynb", "/login",
         KERNEL]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_served_without_the_token(app, path):
    answer = app.get(path)
    assert answer.status_code == 403
    assert "the address that `p2c app` printed" in answer.text


def test_a_wrong_token_or_a_cookie_of_ones_own_making_is_refused(app):
    wrong = app.token[:-1] + ("a" if app.token[-1] != "a" else "b")
    assert app.get(f"/?token={wrong}").status_code == 403
    assert app.get("/", Authorization=f"token {wrong}").status_code == 403
    assert app.get("/", Cookie=f"p2c-app-{app.port}=1").status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Host": "evil.example"}, id="another name of this machine"),
        pytest.param({"Host": "127.0.0.1:1"}, id="another port"),
        pytest.param({"Origin": "http://evil.example"}, id="a page from elsewhere"),
        pytest.param({"Origin": "null"}, id="a page from nowhere"),
    ],
)
def test_the_token_does_not_help_another_host_or_origin(app, headers):
    answer = app.get("/voila/static/voila.js", Authorization=f"token {app.token}", **headers)
    assert answer.status_code == 403
    assert app.get("/voila/static/voila.js", Authorization=f"token {app.token}").status_code == 200


def test_only_this_machine_is_listened_to(app):
    listening = [c for c in psutil.Process(app.process.pid).net_connections("tcp") if c.status == "LISTEN"]
    assert {c.laddr.ip for c in listening if c.laddr.port == app.port} == {"127.0.0.1"}


def test_pages_at_once_have_a_kernel_each_and_show_no_code(app, home, pages):
    assert [page.status_code for page in pages] == [200, 200]
    assert len({config(page)["kernelId"] for page in pages}) == 2
    for page in pages:
        assert "open_page" not in page.text and "import " not in lxml.html.fromstring(page.text).text_content()
        assert app.token not in page.text
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert "/?run=one" in pages[0].text and "In step: 0 source rows" in pages[0].text
    assert "All runs" in pages[1].text


@pytest.mark.parametrize("name", ["app.ipynb", "app.py", "../runs/one/secret.txt", "..%2fruns%2fone%2fsecret.txt", "."])
def test_no_file_is_served(app, cookie, name):
    answer = app.get(f"/voila/files/{name}", Cookie=cookie)
    if answer.status_code == 302:
        answer = app.get(answer.headers["Location"], Cookie=cookie)
    assert answer.status_code in (403, 404)
    assert "business" not in answer.text


def test_a_page_may_talk_to_its_widgets_and_may_not_run_code(app, cookie, pages, tmp_path):
    kernel, mark = config(pages[0])["kernelId"], tmp_path / "written"
    url = f"ws://127.0.0.1:{app.port}/api/kernels/{kernel}/channels?session_id=s"

    def message(kind: str, **content: object) -> str:
        head = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": kind,
            "username": "",
            "session": "s",
            "version": "5.3",
            "date": "",
        }
        return json.dumps({"header": head, "parent_header": {}, "metadata": {}, "content": content,
                           "channel": "shell", "buffers": []})  # fmt: skip

    async def talk() -> list[str]:
        with pytest.raises(HTTPClientError, match="403"):
            await websocket_connect(HTTPRequest(url))
        with pytest.raises(HTTPClientError, match="403"):
            await websocket_connect(HTTPRequest(url, headers={"Cookie": cookie, "Origin": "http://evil.example"}))
        connection = await websocket_connect(HTTPRequest(url, headers={"Cookie": cookie}))
        await connection.write_message(message("execute_request", code=f"open({str(mark)!r}, 'w')", silent=False))
        await connection.write_message(message("comm_info_request"))
        kinds = []
        while "comm_info_reply" not in kinds:
            answer = await asyncio.wait_for(connection.read_message(), 20)
            kinds.append(json.loads(answer)["header"]["msg_type"])
        connection.close()
        return kinds

    assert "execute_reply" not in asyncio.run(talk())
    assert not mark.exists()


def test_a_kernel_ends_with_its_page_and_all_end_with_the_app(app, cookie, pages):
    both = app.kernels()
    assert len(both) == 2
    shut = f"{app.url}/voila/api/shutdown/{config(pages[0])['kernelId']}"  # as a page does when it is closed
    assert httpx.post(shut, headers={"Cookie": cookie, "Origin": app.url}, trust_env=False).status_code == 204
    left = app.kernels()
    assert len(left) == 1 and left < both
    app.process.send_signal(signal.SIGINT)
    assert app.process.wait(timeout=30) == 0
    assert app.process.stdout.read().endswith("ended\n")
    deadline = time.monotonic() + 10
    while any(map(psutil.pid_exists, both)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, both))


@pytest.fixture
def begin(home, monkeypatch):
    """The command itself, which never gets as far as to serve."""
    for name in ("P2C_PROFILE", "P2C_APP_RUN", "P2C_APP_RUNS", "P2C_APP_PROFILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "")  # so that what the command sets is taken back
    monkeypatch.setenv("P2C_HOME", str(home))
    return app_cli.app


def test_a_port_in_use_is_named(begin):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ParameterError, match=f"port {port} is in use; name another with --port"):
            begin(None, port, False)


def test_a_folder_without_a_run_or_with_one_that_did_not_end_is_refused(begin, tmp_path):
    with pytest.raises(ParameterError, match="holds no run"):
        begin(tmp_path, 0, False)
    folders.create(tmp_path / "begun", NOWHERE, {})
    with pytest.raises(ParameterError, match="begun did not come to its end, or is still running"):
        begin(tmp_path / "begun", 0, False)


def test_a_profile_that_is_not_there_is_refused(begin):
    with pytest.raises(ConfigError, match="no profile 'nobody'"):
        begin(None, 0, False, "nobody")


def test_without_voila_it_is_said_what_to_install(begin, monkeypatch):
    monkeypatch.setattr(app_cli, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="package voila, which is not installed"):
        begin(None, 0, False)


def test_runs_are_listed_newest_first_with_their_verdicts(tmp_path):
    task = {"task": "accounts"} | COUNTS
    make_run(tmp_path / "b", started="2026-01-02T00:00:00+00:00", tasks=[task], exit_code=1)
    make_run(tmp_path / "a", started="2026-01-03T00:00:00+00:00")
    failed = {"task": "accounts", "error": "it failed"}
    make_run(tmp_path / "c", started="2026-01-01T00:00:00+00:00", tasks=[failed], exit_code=2)
    folders.create(tmp_path / "begun", NOWHERE, {})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    (tmp_path / "no run").mkdir()
    runs, more = app_page.list_runs(tmp_path)
    assert [(one.name, one.is_good, one.can_open) for one in runs] == [
        ("begun", None, False), ("a", True, True), ("b", False, True), ("c", False, True), ("broken", None, False)
    ]  # fmt: skip
    assert (more, runs[2].says, runs[2].compared, runs[2].differing) == (0, "4 rows are not in step", 5, 4)
    assert runs[3].says == "Failed: accounts did not come to an end"
    assert "not JSON" in runs[4].says
    few, more = app_page.list_runs(tmp_path, most=2)
    assert (len(few), more) == (2, 3)


@pytest.mark.parametrize("asked", ["nobody", "../elsewhere", "/", ".", "..", "one/../one"])
def test_only_a_run_of_the_list_can_be_asked_for(home, monkeypatch, asked):
    make_run(home / "elsewhere")
    monkeypatch.setenv("P2C_APP_RUNS", str(home / "runs"))
    monkeypatch.setenv("P2C_APP_RUN", "")
    monkeypatch.setenv("QUERY_STRING", f"run={asked}")
    page = app_page.open_page()
    assert page.whole is None and page.outcomes() is None
    assert f"there is no run &#39;{asked}&#39;" in page.top().data


def test_the_app_of_one_run_shows_no_other(home, monkeypatch, tmp_path):
    monkeypatch.setenv("P2C_APP_RUNS", str(home / "runs"))
    monkeypatch.setenv("P2C_APP_RUN", str(make_run(tmp_path / "two")))
    monkeypatch.setenv("QUERY_STRING", "run=one")
    page = app_page.open_page()
    assert page.opened.folder == tmp_path / "two"
    assert "All runs" not in page.top().data


def test_a_run_can_be_looked_at_without_its_systems(home, monkeypatch):
    monkeypatch.setenv("P2C_HOME", str(home))
    for name in ("P2C_SANDBOX_DIR", "P2C_PROFILE", "P2C_SALES__URL", "P2C_FNO__URL"):
        monkeypatch.delenv(name, raising=False)
    page = app_page.open_page(run=str(home / "runs" / "one"))
    shown = page.top().data
    assert "Nothing can be sent from here" in shown and "no sandbox is running" in shown
    assert "What became of every row?" in page.outcomes().data


def test_what_names_of_runs_and_errors_hold_is_text(tmp_path, monkeypatch):
    make_run(tmp_path / "<img src=x onerror=alert(1)>", profile="<script>alert(1)</script>")
    monkeypatch.setenv("P2C_APP_RUNS", str(tmp_path))
    monkeypatch.setenv("P2C_APP_RUN", "")
    monkeypatch.setenv("QUERY_STRING", "run=%3Cscript%3Ealert(1)%3C/script%3E")
    tree = lxml.html.fromstring(app_page.open_page().top().data)
    assert not tree.xpath("//script | //img")
    assert tree.xpath("//td/a")[0].get("href") == "/?run=%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E"
