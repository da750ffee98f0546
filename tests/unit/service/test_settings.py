"""Settings are read from the environment and a file, and a bad one is refused by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.settings import BadSetting, Settings, load_settings, variable_of


@pytest.fixture(autouse=True)
def _no_file_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_any_the_defaults_hold() -> None:
    settings = load_settings({})
    assert settings == Settings()
    assert settings.database_url is None
    assert settings.http_port == 8420
    assert settings.postgres_folder == Path(".tallystick/pg")
    assert settings.objects_url == (Path.cwd() / ".tallystick/objects").as_uri()


def test_each_field_can_be_set_by_its_variable() -> None:
    given = {
        "DATABASE_URL": "postgresql://somewhere/db",
        "TALLYSTICK_DATA": "/data",
        "TALLYSTICK_OBJECT_STORE_URL": "s3://bucket/results",
        "TALLYSTICK_HTTP_PORT": "0",
        "TALLYSTICK_LEASE_SECONDS": "0.5",
        "TALLYSTICK_HEARTBEAT_SECONDS": "0.25",
        "TALLYSTICK_ALLOW_LOOPBACK_URLS": "true",
        "TALLYSTICK_LOG_JSON": "0",
    }
    settings = load_settings(given)
    assert settings == Settings(
        database_url="postgresql://somewhere/db",
        data_folder=Path("/data"),
        object_store_url="s3://bucket/results",
        http_port=0,
        lease_seconds=0.5,
        heartbeat_seconds=0.25,
        allow_loopback_urls=True,
        log_json=False,
    )
    assert settings.objects_url == "s3://bucket/results"


SECRET = "whsec_" + "A" * 32
NOTHING_BY_DEFAULT: dict[str, object] = {
    "database_url": "postgresql://somewhere/db",
    "object_store_url": "s3://bucket/results",
    "prices_file": Path("prices.toml"),
    "plans_file": Path("plans.toml"),
    "alert_webhook_url": "https://example.com/alerts",
    "alert_webhook_secret": SECRET,
    "allow_loopback_urls": True,
    "log_json": True,
    "handlers": ("a.b:c",),
    "hooks": ("a.b:c",),
    "alert_hooks": ("a.b:c",),
}


@pytest.mark.parametrize("field", Settings.__struct_fields__)
def test_no_field_is_refused_whatever_is_set(field: str) -> None:
    """Bounds that do not go with a field's type are found only when it is read."""
    value = NOTHING_BY_DEFAULT.get(field) or getattr(Settings(), field)
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    settings = load_settings({"TALLYSTICK_ALERT_WEBHOOK_SECRET": SECRET, variable_of(field): text})
    assert getattr(settings, field) == value


def test_a_list_is_parted_by_commas_in_the_environment_only() -> None:
    assert load_settings({"TALLYSTICK_HANDLERS": "a.b:c, d:e"}).handlers == ("a.b:c", "d:e")
    Path("tallystick.toml").write_text('handlers = ["a.b:c", "d:e"]')
    assert load_settings({}).handlers == ("a.b:c", "d:e")
    Path("tallystick.toml").write_text('handlers = "a.b:c"')
    with pytest.raises(BadSetting, match="handlers in"):
        load_settings({})


def test_variables_are_named_after_their_fields() -> None:
    assert variable_of("poll_seconds") == "TALLYSTICK_POLL_SECONDS"
    assert variable_of("database_url") == "DATABASE_URL"


def test_the_environment_overrides_the_file() -> None:
    Path("tallystick.toml").write_text("http_port = 1\npoll_seconds = 2\n")
    settings = load_settings({"TALLYSTICK_HTTP_PORT": "9"})
    assert (settings.http_port, settings.poll_seconds) == (9, 2.0)


def test_an_empty_variable_counts_as_unset() -> None:
    assert load_settings({"DATABASE_URL": "", "TALLYSTICK_HTTP_PORT": ""}) == Settings()


def test_the_file_may_lie_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text('http_host = "::1"\n')
    assert load_settings({"TALLYSTICK_CONFIG": str(path)}).http_host == "::1"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("TALLYSTICK_HTTP_PORT", "eighty", "expected `int`, got `str`, not 'eighty'"),
        ("TALLYSTICK_HTTP_PORT", "65536", "expected `int` <= 65535"),
        ("TALLYSTICK_HTTP_PORT", "-1", "expected `int` >= 0"),
        ("TALLYSTICK_HTTP_PORT", "80.5", "expected `int`"),
        ("TALLYSTICK_POLL_SECONDS", "nan", "expected `float` >= 0.05"),
        ("TALLYSTICK_POLL_SECONDS", "inf", "expected `float` <= 60"),
        ("TALLYSTICK_ALLOW_LOOPBACK_URLS", "perhaps", "expected `bool`"),
        ("TALLYSTICK_WORKER_CONCURRENCY", "0", "expected `int` >= 1"),
        ("TALLYSTICK_ALERT_WEBHOOK_URL", "https://" + "a" * 2_048, "of length <= 2048"),
        ("TALLYSTICK_ALERT_WEBHOOK_SECRET", "whsec_short", "matching regex"),
        ("TALLYSTICK_CONFIG", "no-such-file.toml", "there is no file no-such-file.toml"),
    ],
)
def test_a_bad_value_is_refused_by_its_variable(variable: str, value: str, says: str) -> None:
    with pytest.raises(BadSetting) as refusal:
        load_settings({variable: value})
    assert str(refusal.value).startswith(f"{variable}: ")
    assert says in str(refusal.value)
    assert refusal.value.name == variable


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("http_port = '80'", "http_port in tallystick.toml: expected `int`, got `str`"),
        ("http_port = true", "http_port in tallystick.toml: expected `int`, got `bool`"),
        ("http_prot = 80", "http_prot in tallystick.toml: is not a setting; is http_port meant?"),
        ("[http]", "http in tallystick.toml: is not a setting"),
        ("http_port", "tallystick.toml: cannot be read as TOML"),
    ],
)
def test_a_bad_line_in_the_file_is_refused_by_its_key(text: str, says: str) -> None:
    Path("tallystick.toml").write_text(text)
    with pytest.raises(BadSetting) as refusal:
        load_settings({})
    assert str(refusal.value).startswith(says)


def test_a_file_that_is_no_text_is_refused() -> None:
    Path("tallystick.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSetting, match="cannot be read as TOML"):
        load_settings({})


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("TALLYSTICK_LEASE_SECOND", "TALLYSTICK_LEASE_SECONDS"),
        ("TALLYSTICK_DATA_FOLDER", "TALLYSTICK_DATA"),
        ("TALLYSTICK_DATABASE_URL", "DATABASE_URL"),
    ],
)
def test_a_mistyped_variable_is_refused_with_the_one_meant(variable: str, meant: str) -> None:
    with pytest.raises(BadSetting, match=f"{variable}: is not a setting; is {meant} meant"):
        load_settings({variable: "1"})


def test_variables_that_kubernetes_makes_are_let_be() -> None:
    made = {"TALLYSTICK_SERVICE_HOST": "10.0.0.1", "TALLYSTICK_PORT": "tcp://10.0.0.1:80"}
    assert load_settings(made) == Settings()


def test_a_heartbeat_too_slow_for_its_lease_is_refused() -> None:
    with pytest.raises(BadSetting, match="at most half of TALLYSTICK_LEASE_SECONDS"):
        load_settings({"TALLYSTICK_LEASE_SECONDS": "15"})


def test_an_address_with_a_password_is_never_shown() -> None:
    settings = load_settings({"DATABASE_URL": "postgresql://me:hunter2@db/x"})
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.__rich_repr__())
    Path("tallystick.toml").write_text("database_url = ['hunter2']")
    with pytest.raises(BadSetting) as refusal:
        load_settings({})
    assert "hunter2" not in str(refusal.value)
