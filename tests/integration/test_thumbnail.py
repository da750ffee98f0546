"""A thumbnail shows the moment that was asked for, or one that shows something, upright."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image, ImageStat

from adapters import thumbnail
from adapters.thumbnail import PictureFormat, make_thumbnail
from tallystick.handler import TaskFailure
from tests.integration.media_clips import CLIP, paint_video, silence

SIZE = (320, 180)
BLACK, WHITE, RED, BLUE = (0, 0, 0), (255, 255, 255), (220, 20, 20), (20, 20, 220)


def flat(colour: tuple[int, int, int], size: tuple[int, int] = SIZE) -> Image.Image:
    return Image.new("RGB", size, colour)


def halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> Image.Image:
    image = flat(left)
    image.paste(right, (SIZE[0] // 2, 0, *SIZE))
    return image


def colour_at(picture: Path, x: float, y: float) -> str:
    """The strongest colour of the pixel at these parts of width and height."""
    with Image.open(picture) as image:
        pixel = image.convert("RGB").getpixel((int(x * image.width), int(y * image.height)))
    assert isinstance(pixel, tuple)
    return ["red", "green", "blue"][pixel.index(max(pixel))]


@pytest.mark.parametrize("picture_format", ["jpeg", "png", "webp"])
def test_the_clip_gives_a_picture_of_each_format(
    tmp_path: Path, picture_format: PictureFormat
) -> None:
    made = make_thumbnail(CLIP, tmp_path / "picture", picture_format=picture_format)
    assert made is not None
    assert (made.width, made.height, made.at_seconds) == (640, 360, 0.52)
    with Image.open(tmp_path / "picture") as image:
        assert image.format == picture_format.upper()
        assert image.size == (640, 360)
        statistics = ImageStat.Stat(image.convert("RGB"))
    # A meadow under a blue sky: more green than red or blue, neither dark nor flat.
    red, green, blue = statistics.mean
    assert green > red
    assert green > blue
    assert min(statistics.stddev) > 40


@pytest.mark.parametrize(
    ("at_seconds", "shown"), [(0.0, 0.0), (0.03, 0.0), (0.05, 0.04), (2.5, 2.48), (5.3, 5.24)]
)
def test_the_frame_on_show_at_a_moment_is_taken(
    tmp_path: Path, at_seconds: float, shown: float
) -> None:
    made = make_thumbnail(CLIP, tmp_path / "picture", at_seconds=at_seconds)
    assert made is not None
    assert made.at_seconds == shown


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts", "mpg"])
def test_a_moment_is_found_in_every_container(tmp_path: Path, suffix: str) -> None:
    """Also in those that seek badly. The picture turns from red to blue after two seconds."""
    codec = "mpeg2video" if suffix in {"ts", "mpg"} else "mpeg4"
    video = paint_video(
        tmp_path / f"video.{suffix}",
        lambda number: flat(RED if number < 50 else BLUE),
        frames=100,
        codec=codec,
        rate=25,
    )
    for at_seconds, colour in ((0.0, "red"), (1.9, "red"), (2.1, "blue"), (3.9, "blue")):
        made = make_thumbnail(video, tmp_path / "picture", at_seconds=at_seconds)
        assert made is not None
        assert colour_at(tmp_path / "picture", 0.5, 0.5) == colour
        assert made.at_seconds == pytest.approx(at_seconds, abs=0.05)


def test_a_moment_past_the_end_is_refused_with_the_length(tmp_path: Path) -> None:
    with pytest.raises(TaskFailure, match=r"ends after 5\.3 seconds") as failure:
        make_thumbnail(CLIP, tmp_path / "picture", at_seconds=6.0)
    assert failure.value.type == "param_error"


@pytest.mark.parametrize("dull", [BLACK, WHITE, (128, 128, 128)])
def test_a_representative_picture_shows_something(
    tmp_path: Path, dull: tuple[int, int, int]
) -> None:
    """Dull for its first 40 %, then red and blue halves."""
    video = paint_video(
        tmp_path / "video.mkv", lambda number: flat(dull) if number < 20 else halves(RED, BLUE)
    )
    made = make_thumbnail(video, tmp_path / "picture")
    assert made is not None
    assert made.at_seconds == 2.5
    assert colour_at(tmp_path / "picture", 0.25, 0.5) == "red"
    assert colour_at(tmp_path / "picture", 0.75, 0.5) == "blue"


def test_a_video_that_shows_nothing_still_gives_a_picture(tmp_path: Path) -> None:
    video = paint_video(tmp_path / "video.mkv", lambda _: flat(BLACK))
    assert make_thumbnail(video, tmp_path / "picture") is not None


@pytest.mark.parametrize(
    ("size", "width_max", "expected"),
    [
        ((320, 180), 160, (160, 90)),
        ((320, 180), 640, (320, 180)),
        ((180, 320), 90, (90, 160)),
        ((16, 640), 64, (3, 128)),
        ((640, 16), 64, (64, 2)),
        ((1000, 2), 16, (16, 1)),
    ],
)
def test_a_picture_fits_its_width_and_is_never_scaled_up(
    tmp_path: Path, size: tuple[int, int], width_max: int, expected: tuple[int, int]
) -> None:
    video = paint_video(tmp_path / "video.mkv", lambda _: flat(RED, size), codec="ffv1", frames=2)
    made = make_thumbnail(video, tmp_path / "picture", width_max=width_max)
    assert made is not None
    assert (made.width, made.height) == expected
    with Image.open(tmp_path / "picture") as image:
        assert image.size == expected


def test_pixels_that_are_not_square_are_squared(tmp_path: Path) -> None:
    video = paint_video(tmp_path / "v.mkv", lambda _: flat(RED), pixel_aspect=Fraction(2), frames=3)
    made = make_thumbnail(video, tmp_path / "picture")
    assert made is not None
    assert (made.width, made.height) == (640, 180)


UPRIGHT = b"\x00\x01\x00\x00" + bytes(12) + b"\x00\x01\x00\x00" + bytes(12) + b"\x40\x00\x00\x00"
TURNED = {
    90: bytes(4) + b"\x00\x01\x00\x00" + bytes(4) + b"\xff\xff\x00\x00" + bytes(16),
    180: b"\xff\xff\x00\x00" + bytes(12) + b"\xff\xff\x00\x00" + bytes(12),
    270: bytes(4) + b"\xff\xff\x00\x00" + bytes(4) + b"\x00\x01\x00\x00" + bytes(16),
}


@pytest.mark.parametrize(
    ("degrees", "size", "red_at"),
    [(90, (180, 320), (0.5, 0.1)), (180, (320, 180), (0.9, 0.5)), (270, (180, 320), (0.5, 0.9))],
)
def test_a_turned_recording_is_shown_upright(
    tmp_path: Path, degrees: int, size: tuple[int, int], red_at: tuple[float, float]
) -> None:
    """Phones write the turn into the track's matrix: clockwise, red begins on the left."""
    video = paint_video(tmp_path / "video.mp4", lambda _: halves(RED, BLUE), frames=3)
    content = video.read_bytes()
    track = content.index(b"tkhd")
    matrix = content.index(UPRIGHT, track)
    turned = TURNED[degrees] + UPRIGHT[-4:]
    video.write_bytes(content[:matrix] + turned + content[matrix + len(turned) :])
    made = make_thumbnail(video, tmp_path / "picture")
    assert made is not None
    assert (made.width, made.height) == size
    assert colour_at(tmp_path / "picture", *red_at) == "red"
    assert colour_at(tmp_path / "picture", 1 - red_at[0], 1 - red_at[1]) == "blue"


def test_sound_alone_gives_no_picture(tmp_path: Path) -> None:
    assert make_thumbnail(silence(tmp_path / "sound.mka"), tmp_path / "picture") is None
    assert not (tmp_path / "picture").exists()


def test_frames_over_the_limit_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnail, "PIXELS_MAX", 1280 * 720 - 1)
    with pytest.raises(TaskFailure, match="kind or size") as failure:
        make_thumbnail(CLIP, tmp_path / "picture")
    assert failure.value.type == "param_error"


def test_codecs_that_are_not_listed_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnail, "VIDEO_CODECS", frozenset({"vp9"}))
    with pytest.raises(TaskFailure, match="kind or size"):
        make_thumbnail(CLIP, tmp_path / "picture")


def test_the_way_to_a_moment_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 10 frames the nearest one reached is taken, and its moment told."""
    monkeypatch.setattr(thumbnail, "DECODED_PIXELS_MAX", 10 * 1280 * 720)
    made = make_thumbnail(CLIP, tmp_path / "picture", at_seconds=5.0)
    assert made is not None
    assert made.at_seconds == 0.36


def test_a_moment_far_into_a_stream_of_packets_is_not_reached_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = paint_video(
        tmp_path / "v.ts", lambda _: halves(RED, BLUE), frames=200, codec="mpeg2video", rate=25
    )
    monkeypatch.setattr(thumbnail, "DECODED_PIXELS_MAX", 60 * SIZE[0] * SIZE[1])
    made = make_thumbnail(video, tmp_path / "picture", at_seconds=7.0)
    assert made is not None
    assert made.at_seconds == 7.0


def test_a_damaged_middle_still_gives_a_picture(tmp_path: Path) -> None:
    content = bytearray(CLIP.read_bytes())
    content[300_000:700_000] = bytes(400_000)
    (tmp_path / "clip.mp4").write_bytes(content)
    assert make_thumbnail(tmp_path / "clip.mp4", tmp_path / "picture") is not None
