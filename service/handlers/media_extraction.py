"""The task type `media_extraction`: a video's metadata, subtitles and picture, and the video."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from adapters.media_probe import BitRate, Language, MediaInfo, MediaStream, Name, Seconds, Title
from adapters.subtitles import SAMPLE_LENGTH_MAX, SubtitleTrack
from domain.cleaning import clean_text
from service.handlers.generate_thumbnail import Moment
from service.handlers.kept_media import keep_media
from service.handlers.media_source import CACHE_SECONDS, MediaSource, address_key, bring_media
from service.handlers.picture import Picture, Taken, take_picture
from service.handlers.reader import READER
from tallystick.handler import Context, FetchedFile, Stored, TaskFailure, handler

PRICE_CREDITS = 10
ATTEMPT_SECONDS_MAX = 900
RUN_SECONDS_MAX = 2_700
STAGES = {"download": 5, "metadata": 10, "subtitles": 20, "thumbnail": 30, "upload": 40}
UPLOADED_PERCENT = 99
THUMBNAIL_WIDTH_MAX = 640

Result = TypeVar("Result")


class MediaExtractionInput(MediaSource, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The media, and what to do beside reading it."""

    thumbnail_at_seconds: Moment | None = None
    store_video: Annotated[
        bool, Meta(description="Keep a copy of the media in object storage.")
    ] = True


class Subtitles(msgspec.Struct, frozen=True, kw_only=True):
    """One subtitle stream.

    `srt` and `text` are None for pictures of text, which are not read, and where storing failed.
    """

    index: Annotated[int, Meta(ge=0, description="of the stream in the file")]
    codec: Name | None
    language: Language | None
    title: Title | None
    cues: Annotated[int, Meta(ge=0)]
    truncated: Annotated[bool, Meta(description="a limit cut the track short")]
    sample: Annotated[
        str, Meta(max_length=SAMPLE_LENGTH_MAX, description="the beginning of the text")
    ]
    srt: Stored | None
    text: Stored | None


class MediaExtractionOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What was found and kept.

    `stored` is whether `video` is in object storage; whatever happens to that, `video_url` is
    where it came from, and `storage_note` says in words what could not be kept.
    """

    format: Name
    format_name: Title
    title: Title | None
    duration_seconds: Seconds | None
    bit_rate: BitRate | None
    size_bytes: Annotated[int, Meta(ge=0)]
    streams_total: Annotated[int, Meta(ge=0)]
    streams: tuple[MediaStream, ...]
    subtitles: tuple[Subtitles, ...]
    thumbnail: Picture | None
    video: Stored | None
    video_url: Annotated[str, Meta(max_length=2_100)]
    stored: bool
    storage_note: str | None


def _whole(result: MediaExtractionOutput) -> bool:
    """Whether everything could be stored: what is missing would be missed for the cache's time."""
    return result.storage_note is None


@handler(
    "media_extraction",
    price_credits=PRICE_CREDITS,
    stages=STAGES,
    attempt_seconds_max=ATTEMPT_SECONDS_MAX,
    run_seconds_max=RUN_SECONDS_MAX,
    cache_seconds=CACHE_SECONDS,
    cache_key=address_key,
    cache_when=_whole,
    stores=True,
)
async def media_extraction(
    task_input: MediaExtractionInput, context: Context
) -> MediaExtractionOutput:
    """Extract a video's metadata, its subtitles as SRT and text, and a thumbnail; store the video.

    The media comes from a URL or from the uploads folder. If storing fails the task completes
    all the same, with the original URL, and says so.
    """
    await context.stage("download")
    media, fetched = await bring_media(
        task_input, context, percent_from=STAGES["download"], percent_to=STAGES["metadata"]
    )
    await context.stage("metadata")
    info = await READER.probe(media)
    await context.stage("subtitles")
    folder = context.folder / "subtitles"
    await asyncio.to_thread(folder.mkdir)
    tracks = await READER.subtitles(media, folder)
    await context.stage("thumbnail")
    taken = await take_picture(
        media,
        context,
        at_seconds=task_input.thumbnail_at_seconds,
        width_max=THUMBNAIL_WIDTH_MAX,
        picture_format="jpeg",
    )
    await context.stage("upload")
    keeping = _Keeping(context)
    subtitles = tuple([await keeping.subtitles(track, folder) for track in tracks])
    picture = await keeping.picture(taken)
    video = await keeping.video(media, info) if task_input.store_video else None
    return _output(task_input, info, fetched, keeping, _Kept(subtitles, picture, video))


class _Kept(NamedTuple):
    subtitles: tuple[Subtitles, ...]
    picture: Picture | None
    video: Stored | None


def _output(
    task_input: MediaExtractionInput,
    info: MediaInfo,
    fetched: FetchedFile,
    keeping: _Keeping,
    kept: _Kept,
) -> MediaExtractionOutput:
    return MediaExtractionOutput(
        format=info.format,
        format_name=info.format_name,
        title=info.title,
        duration_seconds=info.duration_seconds,
        bit_rate=info.bit_rate,
        size_bytes=fetched.size_bytes,
        streams_total=info.streams_total,
        streams=info.streams,
        subtitles=kept.subtitles,
        thumbnail=kept.picture,
        video=kept.video,
        video_url=clean_text(task_input.url or f"upload:{task_input.upload}", 2_100),
        stored=kept.video is not None,
        storage_note=keeping.note,
    )


class _Keeping:
    """Stores what was extracted; what cannot be stored is noted, and the rest goes on."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lost: list[str] = []

    @property
    def note(self) -> str | None:
        """What could not be stored, in a sentence for users."""
        if not self._lost:
            return None
        return f"Could not be stored: {', '.join(dict.fromkeys(self._lost))}."

    async def subtitles(self, track: SubtitleTrack, folder: Path) -> Subtitles:
        return Subtitles(
            index=track.index,
            codec=track.codec,
            language=track.language,
            title=track.title,
            cues=track.cues,
            truncated=track.truncated,
            sample=track.sample,
            srt=await self._file(folder, track.srt, "application/x-subrip"),
            text=await self._file(folder, track.text, "text/plain; charset=utf-8"),
        )

    async def picture(self, taken: Taken | None) -> Picture | None:
        if taken is None:
            return None
        return await self._or_note(taken.store(self._context), "the thumbnail")

    async def video(self, media: Path, info: MediaInfo) -> Stored | None:
        put = keep_media(
            media,
            info,
            self._context,
            percent_from=STAGES["upload"],
            percent_to=UPLOADED_PERCENT,
        )
        return await self._or_note(put, "the video; it is still at its original URL")

    async def _file(self, folder: Path, name: str | None, content_type: str) -> Stored | None:
        if name is None:
            return None
        put = self._context.objects.put(
            f"subtitles/{name}", folder / name, content_type=content_type
        )
        return await self._or_note(put, "the subtitles")

    async def _or_note(self, storing: Awaitable[Result], what: str) -> Result | None:
        try:
            return await storing
        except TaskFailure as failure:
            if failure.type != "storage":
                raise
            self._lost.append(what)
            return None
