import json
from pathlib import Path

import pytest

from p2c_lib.config import Endpoint, load_profile
from p2c_lib.errors import ConfigError

LIVE = """
[profiles.live]
threshold = 3
overlays = ["site.yaml"]
[profiles.live.sales]
url = "https://contoso.crm4.dynamics.com/api/data/v9.2/"
[profiles.live.fno]
url = "https://contoso.operations.dynamics.com/data"
company = "DEMF"
[profiles.live.auth]
kind = "client_secret"
tenant_id = "t"
client_id = "c"
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No variable and no sandbox of the machine that runs the tests."""
    import os

    for name in [name for name in os.environ if name.upper().startswith("P2C_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "conf" / "p2c.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_a_profile_of_the_file_is_read_with_paths_from_the_files_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("P2C_AUTH__CLIENT_SECRET", "s3cret")
    profile = load_profile("live", written(tmp_path, LIVE))
    assert profile.sales.url == "https://contoso.crm4.dynamics.com"
    assert (profile.fno.url, profile.fno.company) == ("https://contoso.operations.dynamics.com", "demf")
    assert profile.threshold == 3 and profile.overlays == (tmp_path / "conf" / "site.yaml",)
    assert profile.limits.page_rows == 5000 and profile.verify


def test_secrets_are_in_no_repr_dump_or_message(tmp_path, monkeypatch):
    monkeypatch.setenv("P2C_AUTH__CLIENT_SECRET", "s3cret")
    profile = load_profile("live", written(tmp_path, LIVE))
    assert "s3cret" not in repr(profile) + str(profile.model_dump()) + profile.model_dump_json()
    monkeypatch.setenv("P2C_AUTH__KIND", "secret-ish")
    with pytest.raises(ConfigError) as caught:
        load_profile("live", tmp_path / "conf" / "p2c.toml")
    assert "s3cret" not in str(caught.value)


def test_the_environment_wins_over_the_file(tmp_path, monkeypatch):
    file = written(tmp_path, LIVE)
    monkeypatch.setenv("P2C_PROFILE", "live")
    monkeypatch.setenv("P2C_FNO__COMPANY", "usmf")
    monkeypatch.setenv("P2C_AUTH__KIND", "token")
    monkeypatch.setenv("P2C_AUTH__TOKEN", "t0ken")
    monkeypatch.setenv("P2C_LIMITS__PARALLEL", "2")
    monkeypatch.setenv("P2C_THRESHOLD", "7")
    profile = load_profile(file=file)
    assert (profile.name, profile.fno.company, profile.auth.kind) == ("live", "usmf", "token")
    assert (profile.limits.parallel, profile.threshold) == (2, 7)
    assert profile.fno.url == "https://contoso.operations.dynamics.com"


def test_the_environment_alone_is_enough(monkeypatch):
    monkeypatch.setenv("P2C_SALES__URL", "https://a.crm.dynamics.com")
    monkeypatch.setenv("P2C_FNO__URL", "https://b.dynamics.com")
    profile = load_profile("nightly")
    assert (profile.name, profile.auth.kind) == ("nightly", "default")


def test_all_problems_are_told_together(tmp_path):
    text = """
    [profiles.live]
    limit = {}
    [profiles.live.sales]
    ulr = "https://x"
    [profiles.live.auth]
    kind = "client_secret"
    client_secret = "s3cret"
    """
    with pytest.raises(ConfigError) as caught:
        load_profile("live", written(tmp_path, text))
    message = str(caught.value)
    assert "profiles.live: unknown key 'limit' (did you mean 'limits'?); known: auth, ca_file" in message
    assert "profiles.live.sales: unknown key 'ulr' (did you mean 'url'?); known: url" in message
    assert "set the environment variable P2C_AUTH__CLIENT_SECRET" in message and "s3cret" not in message


def test_bad_values_are_told_together_with_their_place(tmp_path):
    text = LIVE.replace("https://contoso.crm4", "http://contoso.crm4").replace("threshold = 3", "threshold = -1")
    with pytest.raises(ConfigError) as caught:
        load_profile("live", written(tmp_path, text))
    message = str(caught.value)
    assert "profiles.live.sales.url: http:// would send tokens in clear text" in message
    assert "profiles.live.threshold: " in message
    assert "profiles.live.auth: kind 'client_secret' needs P2C_AUTH__CLIENT_SECRET" in message


def test_a_missing_url_names_key_and_variable(tmp_path):
    with pytest.raises(ConfigError, match=r"profiles.x.fno: is missing; .* P2C_FNO"):
        load_profile("x", written(tmp_path, "[profiles.x.sales]\nurl = 'https://a.b'\n[profiles.x.auth]\n"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("contoso.crm4.dynamics.com", "not a URL"),
        ("ftp://x", "not a URL"),
        ("https://user:pw@x", "must not hold a user"),
        ("http://10.0.0.1", "clear text"),
        ("http://localhost.evil.example", "clear text"),
        ("https://x/?a=1", "query"),
        ("https://x:99999", "not a URL"),
    ],
)
def test_a_bad_url_is_refused_with_the_reason(url, words):
    with pytest.raises(ValueError, match=words) as caught:
        Endpoint(url=url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://127.0.0.1:8101/", "http://127.0.0.1:8101"),
        ("http://[::1]:8101/data", "http://[::1]:8101"),
        ("https://x.com/api/data/v9.1/", "https://x.com"),
        ("https://x.com/namespaces/AXSF/data/", "https://x.com/namespaces/AXSF"),
        ("https://x.com/database", "https://x.com/database"),
    ],
)
def test_a_url_is_cut_to_the_services_root(url, root):
    assert Endpoint(url=url).url == root


def test_without_a_sandbox_the_default_profile_says_what_to_do():
    with pytest.raises(ConfigError, match=r"no sandbox is running: p2c sandbox start --detach, or name a profile"):
        load_profile()


def test_the_default_profile_is_the_sandbox_that_runs(tmp_path, monkeypatch):
    state = {"sales_url": "http://127.0.0.1:8101", "fno_url": "http://127.0.0.1:8102", "ca_file": None}
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "sandbox.json").write_text(json.dumps(state))
    monkeypatch.setenv("P2C_SANDBOX_DIR", str(tmp_path / "box"))
    profile = load_profile()
    assert (profile.name, profile.auth.kind, profile.fno.company) == ("sandbox", "sandbox", "usmf")
    assert profile.sales.url == "http://127.0.0.1:8101" and profile.fno.url == "http://127.0.0.1:8102"
    (tmp_path / "box" / "sandbox.json").write_text("{")
    with pytest.raises(ConfigError, match="start the sandbox again"):
        load_profile()


def test_an_unknown_profile_lists_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match="no profile 'liev'; known: live, sandbox"):
        load_profile("liev", written(tmp_path, LIVE))


@pytest.mark.parametrize("text", ["[profiles", "\x00", "profiles = 3", "[profiles]\nlive = 1"])
def test_a_broken_file_is_named(tmp_path, text):
    with pytest.raises(ConfigError, match=r"p2c\.toml"):
        load_profile("live", written(tmp_path, text))


def test_the_example_file_is_a_profile(monkeypatch):
    monkeypatch.setenv("P2C_AUTH__CLIENT_SECRET", "s")
    example = Path(__file__).parent.parent / "p2c.example.toml"
    assert load_profile("production", example).fno.company == "usmf"


def test_profiles_cannot_be_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("P2C_AUTH__CLIENT_SECRET", "s")
    profile = load_profile("live", written(tmp_path, LIVE))
    with pytest.raises(ValueError, match="frozen"):
        profile.threshold = 0
