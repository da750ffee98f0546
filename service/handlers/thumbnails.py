"""The group kind `thumbnails`: pictures of one video at several moments."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from adapters.thumbnail import WIDTH_MAX, WIDTH_MIN, PictureFormat
from domain.group import MEMBERS_MAX
from service.group_kinds import GroupKind, MemberSubmission
from service.handlers.generate_thumbnail import GenerateThumbnailInput, Moment
from service.handlers.media_source import MediaSource


class ThumbnailsInput(MediaSource, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The video, the moments, and what each picture is to be like."""

    at_seconds: Annotated[list[Moment], Meta(min_length=1, max_length=MEMBERS_MAX)]
    width_max: Annotated[int, Meta(ge=WIDTH_MIN, le=WIDTH_MAX)] = 640
    format: PictureFormat = "jpeg"


def _expand(given: ThumbnailsInput) -> list[MemberSubmission]:
    return [
        MemberSubmission(
            type="generate_thumbnail",
            input=Raw(
                msgspec.json.encode(
                    GenerateThumbnailInput(
                        url=given.url,
                        upload=given.upload,
                        at_seconds=moment,
                        width_max=given.width_max,
                        format=given.format,
                    )
                )
            ),
        )
        for moment in given.at_seconds
    ]


thumbnails = GroupKind(name="thumbnails", input_type=ThumbnailsInput, expand=_expand)
