"""Uploads are reached by a path inside their folder, and nothing outside it is."""

# ruff: noqa: ASYNC240 - a test may block its own loop

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adapters.addresses import AddressGuard
from adapters.download import Downloads
from adapters.uploads import Uploads
from tallystick.handler import FetchedFile, TaskFailure


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Uploads folder beside a secret, with links of every kind in it."""
    uploads = tmp_path / "uploads"
    (uploads / "alice" / "deep").mkdir(parents=True)
    (uploads / "alice" / "clip.mp4").write_bytes(b"moving pictures")
    (uploads / "alice" / "deep" / "ünïcode name.mkv").write_bytes(b"x" * 3_000_000)
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "uploads-of-others").mkdir()
    (tmp_path / "uploads-of-others" / "file").write_bytes(b"secret")
    (uploads / "inside").symlink_to("alice/clip.mp4")
    (uploads / "outside").symlink_to(tmp_path / "secret")
    (uploads / "up").symlink_to("..")
    (uploads / "root").symlink_to("/")
    (uploads / "loop").symlink_to("loop")
    (uploads / "dangling").symlink_to("nothing")
    os.mkfifo(uploads / "fifo")
    (tmp_path / "work").mkdir()
    return uploads


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "work" / "media"


@pytest.mark.parametrize("path", ["alice/clip.mp4", "inside", "alice/./deep/../clip.mp4"])
async def test_an_upload_is_copied(folder: Path, target: Path, path: str) -> None:
    fetched = await Uploads(folder).copy(path, target, size_bytes_max=100)
    assert target.read_bytes() == b"moving pictures"
    assert fetched.size_bytes == 15
    assert fetched.url == f"upload:{path}"


async def test_a_large_upload_is_copied_whole_and_reported(folder: Path, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []

    async def report(size_bytes: int, total: int | None) -> None:
        seen.append((size_bytes, total))

    fetched = await Uploads(folder).copy(
        "alice/deep/ünïcode name.mkv", target, size_bytes_max=3_000_000, report=report
    )
    assert target.read_bytes() == b"x" * 3_000_000
    assert fetched.content_type == "video/x-matroska"
    assert seen[-1] == (3_000_000, 3_000_000)
    assert len(seen) == 3


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "/",
        "alice",
        "alice/",
        "alice/missing.mp4",
        "../secret",
        "alice/../../secret",
        "./../secret",
        "../uploads-of-others/file",
        "outside",
        "up/secret",
        "up/uploads/../secret",
        "root/etc/passwd",
        "loop",
        "loop/x",
        "dangling",
        "fifo",
        "/etc/passwd",
        "//etc/passwd",
        "alice/clip.mp4\x00",
        "\x00",
        "\ud800",
        "~/.profile",
        "file:///etc/passwd",
        "x" * 5000,
        "a/" * 5000,
    ],
)
async def test_nothing_else_is_an_upload(folder: Path, target: Path, path: str) -> None:
    with pytest.raises(TaskFailure) as failure:
        await Uploads(folder).copy(path, target, size_bytes_max=100)
    assert failure.value.type == "param_error"
    assert str(folder) not in failure.value.message
    assert list(target.parent.iterdir()) == []


async def test_an_absolute_path_into_the_folder_is_refused(folder: Path, target: Path) -> None:
    with pytest.raises(TaskFailure):
        await Uploads(folder).copy(str(folder / "alice/clip.mp4"), target, size_bytes_max=100)


async def test_a_link_swapped_in_after_the_check_leads_nowhere(
    folder: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between resolving and opening, a folder on the way becomes a link to the outside."""
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "clip.mp4").write_bytes(b"secret")
    resolve = Path.resolve

    def resolve_then_swap(path: Path, *, strict: bool = False) -> Path:
        resolved = resolve(path, strict=strict)
        if path.name == "clip.mp4":
            (folder / "alice").rename(folder / "moved")
            (folder / "alice").symlink_to(outside)
        return resolved

    monkeypatch.setattr(Path, "resolve", resolve_then_swap)
    with pytest.raises(TaskFailure) as failure:
        await Uploads(folder).copy("alice/clip.mp4", target, size_bytes_max=100)
    assert failure.value.type == "param_error"


async def test_an_upload_over_the_limit_is_refused(folder: Path, target: Path) -> None:
    with pytest.raises(TaskFailure) as failure:
        await Uploads(folder).copy("alice/clip.mp4", target, size_bytes_max=14)
    assert failure.value.type == "param_error"
    assert list(target.parent.iterdir()) == []


async def test_refusals_leave_no_descriptor_open(folder: Path, target: Path) -> None:
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for path in ("fifo", "alice/deep", "outside", "alice/deep/nothing", "alice/clip.mp4/x"):
        with pytest.raises(TaskFailure):
            await Uploads(folder).copy(path, target, size_bytes_max=100)
    assert len(list(descriptors.iterdir())) == before


async def test_fetch_hands_out_uploads_only_where_there_is_a_folder(
    folder: Path, target: Path
) -> None:
    with pytest.raises(TaskFailure):
        await Downloads(AddressGuard()).upload("inside", target, size_bytes_max=100)
    fetch = Downloads(AddressGuard(), uploads=Uploads(folder))
    assert await fetch.upload("inside", target, size_bytes_max=100) == FetchedFile(
        url="upload:inside", content_type=None, size_bytes=15
    )
