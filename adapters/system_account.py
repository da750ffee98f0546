"""PostgreSQL refuses to run as root, so root needs a lesser account to run it under."""

from __future__ import annotations

import logging
import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

import msgspec

from adapters.deadline import Deadline

ACCOUNT_NAME = "tallystick"
FALLBACK_NAME = "nobody"
CREATE_SECONDS_MAX = 10.0

_logger = logging.getLogger(__name__)


class SystemAccount(msgspec.Struct, frozen=True):
    """A user of the operating system."""

    name: str
    uid: int
    gid: int


def account_for(folder: Path) -> SystemAccount | None:
    """Whom to run a server over `folder` as: None means as we are, which is never root.

    For root it is the folder's owner, so that data made by a user stays that user's; a folder that
    is new, or whose owner is root or unknown here (a volume moved between containers), gets the
    system user `tallystick`, made if need be, or `nobody` where users cannot be made.
    """
    if os.geteuid() != 0:
        return None
    if folder.exists() and (owner := folder.stat().st_uid) != 0:
        try:
            return _account(pwd.getpwuid(owner))
        except KeyError:
            pass
    return _find(ACCOUNT_NAME) or _create(ACCOUNT_NAME) or _account(pwd.getpwnam(FALLBACK_NAME))


def give(path: Path, account: SystemAccount) -> None:
    """Make `account` the owner of all below `path`, and last of `path`, unless it is that already.

    So a run that is cut off is taken up again by the next one.
    """
    if path.stat().st_uid != account.uid:
        for entry in (*path.rglob("*"), path):
            os.chown(entry, account.uid, account.gid, follow_symlinks=False)


def let_through(account: SystemAccount, path: Path) -> None:
    """Open those folders above `path` that bar `account`, to pass and not to list, for every user.

    A data folder below a private home needs this when root starts the server; the folders are
    logged as a warning.
    """
    opened = []
    for folder in reversed(path.resolve().parents):
        status = folder.stat()
        if not status.st_mode & _pass_bit(status, account):
            folder.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
            opened.append(str(folder))
    if opened:
        _logger.warning(
            "So that PostgreSQL reaches %s as user %s, all users may now pass through %s",
            path,
            account.name,
            ", ".join(opened),
        )


def let_read(path: Path) -> None:
    """Let every user read and run what is below `path`, as its owner can; `path` may be missing."""
    if not path.exists():
        return
    for entry in (path, *path.rglob("*")):
        if not entry.is_symlink():
            mode = stat.S_IMODE(entry.stat().st_mode)
            entry.chmod(mode | (mode >> 6 & (stat.S_IROTH | stat.S_IXOTH)))


def _pass_bit(status: os.stat_result, account: SystemAccount) -> int:
    if status.st_uid == account.uid:
        return stat.S_IXUSR
    return stat.S_IXGRP if status.st_gid == account.gid else stat.S_IXOTH


def _account(entry: pwd.struct_passwd) -> SystemAccount:
    return SystemAccount(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _find(name: str) -> SystemAccount | None:
    try:
        return _account(pwd.getpwnam(name))
    except KeyError:
        return None


def _create(name: str) -> SystemAccount | None:
    """Another process may make the same account meanwhile, or hold the lock on the user table."""
    useradd = shutil.which("useradd") or "/usr/sbin/useradd"
    options = ("--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent")
    deadline = Deadline(CREATE_SECONDS_MAX)
    while True:
        try:
            made = subprocess.run(
                [useradd, *options, "--shell", "/usr/sbin/nologin", name],
                check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            reason = str(error)
            break
        if (account := _find(name)) is not None:
            return account
        reason = made.stderr.strip()
        if "lock" not in reason or not deadline.pause():
            break
    _logger.warning("cannot make the system user %s (%s): using %s", name, reason, FALLBACK_NAME)
    return None
