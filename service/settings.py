"""Everything that may differ between two installations, typed, bounded and described once."""

from __future__ import annotations

import base64
import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

from domain.errors import TallystickError
from domain.group import MEMBERS_MAX, PARALLEL

PREFIX = "TALLYSTICK_"
FILE_VARIABLE = "TALLYSTICK_CONFIG"
FILE_NAME = "tallystick.toml"
SECRET_FIELDS = frozenset(
    {"alert_webhook_secret", "alert_webhook_url", "database_url", "object_store_url"}
)
"""Their values may hold passwords, and are never shown."""
LIST_FIELDS = frozenset({"alert_hooks", "handlers", "hooks"})
"""In the environment their items are separated by commas."""
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 24, 64
"""Of what signs webhooks, as the standard has it."""
KIB, MIB, GIB = 2**10, 2**20, 2**30

_NAMED_OTHERWISE = {"database_url": "DATABASE_URL", "data_folder": "TALLYSTICK_DATA"}
_LIKENESS_OF_A_TYPING_ERROR = 0.85


class BadSetting(TallystickError):
    """A setting is unknown, of the wrong type or out of bounds; `name` is as the user wrote it."""

    code = "bad_setting"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read once by `load_settings`; `docs/settings.md` is generated from what stands here."""

    database_url: Annotated[
        str | None,
        Meta(
            description="libpq URL or key=value string of PostgreSQL 15 or later. It has to lead to"
            " sessions, not to a transaction pooler. Unset: the embedded PostgreSQL."
        ),
    ] = None
    data_folder: Annotated[
        Path,
        Meta(
            description="Folder of the embedded PostgreSQL (`pg`) and of stored files (`objects`)."
        ),
    ] = Path(".tallystick")
    object_store_url: Annotated[
        str | None,
        Meta(
            description="Where results are stored: `s3://bucket/prefix` or `file:///folder`."
            " Unset: `objects` in the data folder."
        ),
    ] = None

    pool_connections_max: Annotated[
        int,
        Meta(
            ge=2,
            le=1_000,
            description="Database connections of one process for reads and heartbeats; its"
            " committer, wake-up and projectors have one each besides.",
        ),
    ] = 8
    handlers: Annotated[
        tuple[str, ...],
        Meta(
            description="Task types of other packages, each `package.module:name` of a handler or"
            " a list of them; in the environment separated by commas. Installed packages may"
            " name theirs as entry points of the group `tallystick.handlers` instead."
        ),
    ] = ()

    prices_file: Annotated[
        Path | None,
        Meta(
            description="Price list of the task types, as TOML (docs/prices.md). Unset: the one"
            " that comes with the service."
        ),
    ] = None
    plans_file: Annotated[
        Path | None,
        Meta(description="Plans of the accounts, as TOML. Unset: those that come along."),
    ] = None
    hooks: Annotated[
        tuple[str, ...],
        Meta(
            description="Functions that are told of what a worker does, each"
            " `package.module:name`; in the environment separated by commas."
        ),
    ] = ()

    http_host: Annotated[
        str, Meta(min_length=1, max_length=255, description="Address on which the API listens.")
    ] = "127.0.0.1"
    http_port: Annotated[
        int, Meta(ge=0, le=65_535, description="Port of the API; 0 takes a free one.")
    ] = 8_420
    http_body_bytes_max: Annotated[
        int, Meta(ge=KIB, le=64 * MIB, description="Largest request body.")
    ] = MIB
    http_take_seconds_max: Annotated[
        float,
        Meta(
            ge=1,
            le=3_600,
            description="How long a client may take nothing of its answer before it is hung up on;"
            " at most 5 once the process was told to stop.",
        ),
    ] = 60.0
    json_depth_max: Annotated[
        int, Meta(ge=4, le=200, description="Deepest nesting of a JSON request body.")
    ] = 32
    group_members_max: Annotated[
        int, Meta(ge=1, le=MEMBERS_MAX, description="Most tasks of one group.")
    ] = MEMBERS_MAX
    group_parallel_tasks: Annotated[
        int,
        Meta(
            ge=1,
            le=MEMBERS_MAX,
            description="Tasks of a group that are at work at one time, unless it says otherwise.",
        ),
    ] = PARALLEL
    page_items_max: Annotated[
        int, Meta(ge=1, le=1_000, description="Most items on one page of a list.")
    ] = 200
    prefer_wait_seconds_max: Annotated[
        int, Meta(ge=0, le=300, description="Longest `Prefer: wait` of a request.")
    ] = 60
    streams_max: Annotated[
        int, Meta(ge=0, le=100_000, description="Live streams open at one time in a process.")
    ] = 1_000
    streams_per_key_max: Annotated[
        int, Meta(ge=0, le=100_000, description="Of them, those that one API key may have open.")
    ] = 20
    stream_buffer_bytes_max: Annotated[
        int,
        Meta(
            ge=KIB,
            le=64 * MIB,
            description="What may wait for the reader of one stream; one that is slower is closed"
            " and may resume.",
        ),
    ] = 256 * KIB
    stream_comment_seconds: Annotated[
        float,
        Meta(ge=0.05, le=300, description="After this long without news a stream says so."),
    ] = 15.0
    stream_progress_seconds: Annotated[
        float,
        Meta(
            ge=0.05,
            le=60,
            description="How often streams look at the progress of running tasks between facts.",
        ),
    ] = 0.5
    idempotency_days: Annotated[
        int, Meta(ge=1, le=365, description="How long an `Idempotency-Key` is remembered.")
    ] = 7
    key_cache_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=60,
            description="How long a checked API key is trusted, so also how long a"
            " revoked one may still pass.",
        ),
    ] = 2.0

    lease_seconds: Annotated[
        float,
        Meta(
            ge=0.2,
            le=3_600,
            description="How long a worker holds a task without a heartbeat."
            " At least twice the heartbeat.",
        ),
    ] = 30.0
    heartbeat_seconds: Annotated[
        float, Meta(ge=0.1, le=1_800, description="How often a worker renews its leases.")
    ] = 10.0
    poll_seconds: Annotated[
        float,
        Meta(ge=0.05, le=60, description="How often work is looked for when no wake-up arrives."),
    ] = 3.0
    worker_concurrency: Annotated[
        int, Meta(ge=1, le=10_000, description="Tasks that one worker process runs at once.")
    ] = 50
    claim_batch_max: Annotated[
        int, Meta(ge=1, le=1_000, description="Tasks that a worker claims in one transaction.")
    ] = 100
    drain_seconds_max: Annotated[
        float,
        Meta(
            ge=0,
            le=3_600,
            description="Grace time for running work after SIGTERM; what is left"
            " then is handed back.",
        ),
    ] = 30.0

    schedules_max: Annotated[
        int, Meta(ge=1, le=1_000, description="Schedules that one account may have.")
    ] = 100
    schedule_skips_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Firings of a schedule that may be refused in a row; then it pauses.",
        ),
    ] = 10

    commit_bytes_max: Annotated[
        int, Meta(ge=MIB, le=GIB // 2, description="Bytes of events in one group commit.")
    ] = 64 * MIB
    commit_commands_max: Annotated[
        int, Meta(ge=1, le=4_000, description="Commands in one group commit.")
    ] = 256
    commit_queue_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Commands that may wait for a commit; more are refused as overload.",
        ),
    ] = 10_000
    projection_batch_events: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Events that a projector (statement, statistics) reads"
            " and writes in one transaction.",
        ),
    ] = 2_000

    backlog_tasks_max: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000,
            description="Tasks of one type that may wait, though they could start, without an"
            " alert.",
        ),
    ] = 10
    backlog_seconds: Annotated[
        float,
        Meta(ge=0, le=86_400, description="How long more than that must wait before the alert."),
    ] = 60.0
    alert_webhook_url: Annotated[
        Annotated[str, Meta(max_length=2_048)] | None,
        Meta(
            description="Where a backlog, and its end, are sent to, as signed Standard Webhooks."
            " Unset: nowhere.",
        ),
    ] = None
    alert_webhook_secret: Annotated[
        Annotated[str, Meta(pattern=r"^whsec_[A-Za-z0-9+/]{32,88}={0,2}\Z")] | None,
        Meta(description="What signs them: `whsec_` and 24 to 64 bytes in base64."),
    ] = None
    alert_hooks: Annotated[
        tuple[str, ...],
        Meta(
            description="Functions that are told of a backlog, and of its end, each"
            " `package.module:name`; in the environment separated by commas."
        ),
    ] = ()

    leftover_hours: Annotated[
        float,
        Meta(
            ge=0,
            le=8_760,
            description="How long scratch files and objects of ended attempts are let be before a"
            " task of type `cleanup_temp` removes them.",
        ),
    ] = 24.0
    unused_upload_days: Annotated[
        float,
        Meta(
            ge=0,
            le=36_500,
            description="How old an upload gets before such a task removes it, unless a live task,"
            " group or a schedule names it.",
        ),
    ] = 30.0
    cleanup_removals_max: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Files and objects that one such task removes."),
    ] = 10_000

    download_bytes_max: Annotated[
        int, Meta(ge=1, le=1_024 * GIB, description="Largest media file that is downloaded.")
    ] = 2 * GIB
    allow_loopback_urls: Annotated[
        bool,
        Meta(
            description="Let media come from this machine's own loopback addresses, and pushed"
            " tasks go there. For development only: with it, users reach services that listen"
            " there."
        ),
    ] = False
    log_json: Annotated[
        bool | None,
        Meta(description="Logs as JSON lines. Unset: outside a terminal."),
    ] = None

    def __post_init__(self) -> None:
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            name = variable_of("heartbeat_seconds")
            raise BadSetting(
                name,
                f"{self.heartbeat_seconds:g} must be at most half of"
                f" {variable_of('lease_seconds')} ({self.lease_seconds:g}), so that one lost"
                " heartbeat loses no lease.",
            )
        if self.alert_webhook_url is not None and not self.alert_secret:
            name = variable_of("alert_webhook_secret")
            raise BadSetting(name, "is needed with the URL: 24 to 64 bytes in base64.")

    @property
    def alert_secret(self) -> bytes:
        """What signs alerts; nothing when it is unset or no base64."""
        text = (self.alert_webhook_secret or "").removeprefix("whsec_")
        try:
            secret = base64.b64decode(text, validate=True)
        except ValueError:
            return b""
        return secret if SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX else b""

    @property
    def postgres_folder(self) -> Path:
        """Of the embedded server; used when `database_url` is None."""
        return self.data_folder / "pg"

    @property
    def objects_url(self) -> str:
        """`object_store_url`, or the URL of the data folder's own store."""
        return self.object_store_url or (self.data_folder / "objects").resolve().as_uri()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return [
            (name, "…" if value is not None and name in SECRET_FIELDS else value)
            for name, value in values
        ]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"Settings({shown})"


def variable_of(field: str) -> str:
    """The environment variable that sets `field`."""
    return _NAMED_OTHERWISE.get(field, PREFIX + field.upper())


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Defaults, overridden by the file, overridden by the environment.

    The file is the one named by TALLYSTICK_CONFIG, or `tallystick.toml` in the current folder if
    there is one. An empty variable counts as unset. Raises BadSetting for the first value that does
    not fit, for an unknown key in the file, and for a variable that looks like a mistyped one;
    other variables of our prefix are let be, since Kubernetes makes some.
    """
    values = _from_file(environ)
    for field in Settings.__struct_fields__:
        if text := environ.get(variable_of(field)):
            value = _words(text) if field in LIST_FIELDS else text
            values[field] = _fit(field, variable_of(field), value, strict=False)
    _refuse_typing_errors(environ)
    return Settings(**values)


def _from_file(environ: Mapping[str, str]) -> dict[str, Any]:
    named = environ.get(FILE_VARIABLE)
    path = Path(named or FILE_NAME)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if named:
            raise BadSetting(FILE_VARIABLE, f"there is no file {path}") from error
        return {}
    except (OSError, ValueError) as error:
        raise BadSetting(str(path), f"cannot be read as TOML: {error}") from error
    values = {}
    for field, value in content.items():
        if field not in Settings.__struct_fields__:
            raise BadSetting(f"{field} in {path}", _unknown(field, Settings.__struct_fields__))
        values[field] = _fit(field, f"{field} in {path}", value, strict=True)
    return values


def _fit(field: str, name: str, value: object, *, strict: bool) -> object:
    """`value` as the field's type. Text from the environment is read as what that type asks."""
    kind = get_type_hints(Settings, include_extras=True)[field]
    try:
        return msgspec.convert(value, kind, strict=strict, dec_hook=lambda type_, text: type_(text))
    except msgspec.ValidationError as error:
        shown = "" if field in SECRET_FIELDS else f", not {value!r}"
        raise BadSetting(name, f"{str(error)[0].lower()}{str(error)[1:]}{shown}.") from error


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _refuse_typing_errors(environ: Mapping[str, str]) -> None:
    fields = {field.upper(): variable_of(field) for field in Settings.__struct_fields__}
    known = {FILE_VARIABLE, *fields.values()}
    for variable in environ:
        if variable.startswith(PREFIX) and variable not in known:
            rest = variable.removeprefix(PREFIX)
            near = difflib.get_close_matches(rest, fields, 1, _LIKENESS_OF_A_TYPING_ERROR)
            if near:
                raise BadSetting(variable, f"is not a setting; is {fields[near[0]]} meant?")


def _unknown(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return "is not a setting" + (f"; is {near[0]} meant?" if near else "")
