"""The task types and the kinds of groups that come with the service."""

from __future__ import annotations

from service.group_kinds import GroupKind
from service.handlers.download_video import download_video
from service.handlers.generate_thumbnail import generate_thumbnail
from service.handlers.media_extraction import media_extraction
from service.handlers.thumbnails import thumbnails
from tallystick.handler import Handler

SHIPPED: tuple[Handler, ...] = (media_extraction, generate_thumbnail, download_video)
KINDS: tuple[GroupKind, ...] = (thumbnails,)
