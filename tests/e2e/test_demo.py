"""`make run` for a stranger: one command, and a real video is extracted and paid for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.tallystick_process import Home


@pytest.fixture
def home(server_folder: Path) -> Home:
    """No database is given: the embedded one is started, and ended with the demo."""
    return Home(server_folder, None, {})


def test_the_demo_shows_the_result_and_what_it_cost_and_keeps_both(home: Home) -> None:
    first = home.run("demo", "--once")
    assert first.status == 0, first.err
    for words in ("h264", "aac", "subrip", "5.312", "Every job has its price."):
        assert words in first.out
    for name in ("thumbnail.jpeg", "video.mkv", "2.srt"):
        (path,) = re.findall(rf"\.tallystick/\S*{re.escape(name)}", first.out)
        assert (home.folder / path).stat().st_size > 0
    assert re.search(r"held +10 +990 +10 +task_", first.out)
    assert re.search(r"captured +10 +990 +0 +task_", first.out)
    assert "100 % completed" in first.err
    assert re.search(r"API documents +http://127\.0\.0\.1:\d+/docs", first.err)

    second = home.run("demo", "--once")
    assert second.status == 0, second.err
    assert "captured" in second.out
    assert "980 credits are left, 0 are held." in second.out


def test_a_demo_whose_job_fails_says_so(home: Home) -> None:
    uploads = home.folder / ".tallystick" / "uploads" / "demo"
    uploads.mkdir(parents=True)
    (uploads / "bigbuckbunny-with-subtitles.mkv").write_bytes(b"no video at all")
    failed = home.run("demo", "--once")
    assert failed.status == 1
    assert "It failed: " in failed.err
    assert "released" in failed.out
    assert "1000 credits are left, 0 are held." in failed.out
    assert "Traceback" not in failed.err
