"""The command `tallystick`: data on stdout, talk on stderr, exit statuses as in `exits`."""

from service.cli.program import main, tallystick

__all__ = ["main", "tallystick"]
