"""The local profile: whole or not there, and for its owner's eyes only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.profile import FILE_NAME, Profile, read_profile, write_profile

PROFILE = Profile(url="http://127.0.0.1:1", account_id="acct_1", api_key="a", admin_key="b")


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_profile(tmp_path, PROFILE)
    other = Profile(url="http://127.0.0.1:2", account_id="acct_1", api_key="a", admin_key="b")
    path = write_profile(tmp_path, other)
    assert read_profile(tmp_path) == other
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE_NAME]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_wide_umask_does_not_widen_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = write_profile(tmp_path, PROFILE)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_laid_in_its_way_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / FILE_NAME).symlink_to(target)
    write_profile(tmp_path, PROFILE)
    assert read_profile(tmp_path) == PROFILE
    assert not target.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"url": 3}'])
def test_one_that_cannot_be_read_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert read_profile(tmp_path) is None


def test_none_is_none(tmp_path: Path) -> None:
    assert read_profile(tmp_path) is None
    assert read_profile(tmp_path / "nowhere") is None
