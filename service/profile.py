"""The file with which `tallystick dev` lets the other commands in the same folder reach it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

FILE_NAME = "profile.json"


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Where the service was last started, and keys to it; `account_id` is the public form."""

    url: str
    account_id: str
    api_key: str
    admin_key: str


def read_profile(folder: Path) -> Profile | None:
    """What stands in the data folder; None when there is nothing that can be read."""
    try:
        return msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=Profile)
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return None


def write_profile(folder: Path, profile: Profile) -> Path:
    """Put it there, for its owner's eyes only; readers see the old one or the new one, whole."""
    path = folder / FILE_NAME
    draft = path.with_suffix(f".{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(profile)) + b"\n")
    draft.replace(path)
    return path
