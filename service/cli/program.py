"""The root of the command line; a command is loaded when it is used, so that each starts fast."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, NoReturn

import rich_click as click

from service.cli.exits import EXPECTED, Exit, exit_of, sentence_of
from service.cli.output import say

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "demo": "service.cli.demo:demo",
        "dev": "service.cli.run:dev",
        "serve": "service.cli.run:serve",
        "work": "service.cli.run:work",
        "process": "service.cli.run:process",
        "migrate": "service.cli.run:migrate",
        "health": "service.cli.health:health",
        "task": "service.cli.task:task",
        "group": "service.cli.group:group",
        "schedule": "service.cli.schedule:schedule",
        "balance": "service.cli.own_account:balance",
        "statement": "service.cli.own_account:statement",
        "types": "service.cli.task_types:types",
        "plans": "service.cli.own_account:plans",
        "quote": "service.cli.quote:quote",
        "statistics": "service.cli.statistics:statistics",
        "accounts": "service.cli.operator_accounts:accounts",
        "grant": "service.cli.grant:grant",
        "books": "service.cli.books:books",
        "keys": "service.cli.keys:keys",
        "queue": "service.cli.queue:queue",
    }
)
"""Name of each command, and where it is: `module:attribute`."""


class Program(click.RichGroup):
    """Loads commands by name; turns expected errors into a sentence and an exit status."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click declares it
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(Exit.INTERRUPTED)
        except BrokenPipeError:
            raise
        except EXPECTED as error:
            say(f"Error: {sentence_of(error)}")
            ctx.exit(exit_of(error))


@click.group(cls=Program)
@click.version_option(package_name="tallystick", prog_name="tallystick")
def tallystick() -> None:
    """Tallystick runs slow, costly jobs and meters them in credits, on one durable event log.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 unavailable.
    """


def main() -> NoReturn:
    """The entry point of the installed program."""
    tallystick.main(prog_name="tallystick")
    sys.exit(Exit.OK)
