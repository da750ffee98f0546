"""The task types that come with the service."""

from __future__ import annotations

from service.handlers.generate_thumbnail import generate_thumbnail
from service.handlers.media_extraction import media_extraction
from tallystick.handler import Handler

SHIPPED: tuple[Handler, ...] = (media_extraction, generate_thumbnail)
