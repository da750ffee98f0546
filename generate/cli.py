"""`docs/cli.md`: every command with its arguments, options and defaults."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import rich_click as click

from service.cli import tallystick
from service.cli.exits import Exit

PATH = "docs/cli.md"
MEANINGS = {
    Exit.OK: "done",
    Exit.FAILED: "failed; also a task that was waited for and did not complete",
    Exit.USAGE: "wrong usage: an option, an argument or a setting",
    Exit.REFUSED: "refused by a rule: no credits, a limit, no such task, not allowed",
    Exit.UNAVAILABLE: "the service or the database cannot be reached, or the time to wait is over",
    Exit.INTERRUPTED: "ended by Ctrl-C",
}
INTRODUCTION = """\
# The command line

Generated from `service/cli/` by `make generate`.

Data goes to stdout, talk to stderr. With `--json` each result is one JSON value on a line of its
own, times are RFC 3339, and ids are those of the API.

The commands `task`, `balance`, `statement` and `types` speak to a service over HTTP: the one named
by `--url` and `--api-key`, else by `TALLYSTICK_URL` and `TALLYSTICK_API_KEY`, else the one that
`tallystick dev` started in this folder. `statistics`, `accounts`, `grant`, `keys`, `types secret`
and `migrate` work on the database itself. [Settings](settings.md) are the same for all.

| exit status | meaning |
| --- | --- |
"""


def command_line() -> dict[str, str]:
    """The file by its path."""
    assert set(MEANINGS) == set(Exit), "each exit status is explained"
    statuses = [f"| {status.value} | {meaning} |" for status, meaning in MEANINGS.items()]
    context = click.Context(tallystick, info_name="tallystick")
    commands = [
        _section(name, command) for name, command in _leaves("tallystick", tallystick, context)
    ]
    return {PATH: INTRODUCTION + "\n".join(statuses) + "\n\n" + "\n\n".join(commands)}


def _leaves(
    name: str, command: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command]]:
    """The commands that do something, in the order of the help."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    if command.invoke_without_command:
        yield name, command
    for child in command.list_commands(context):
        found = command.get_command(context, child)
        assert found is not None, "a command that is listed is there"
        yield from _leaves(f"{name} {child}", found, context)


def _section(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    parts = [f"## {name}", f"`{usage}`", inspect.cleandoc(command.help or "")]
    options = [_row(option) for option in command.params if isinstance(option, click.Option)]
    if options:
        parts.append("\n".join(["| option | default | meaning |", "| --- | --- | --- |", *options]))
    return "\n\n".join(parts)


def _row(option: click.Option) -> str:
    value = "" if option.is_flag else f" {_value(option)}"
    default = f"`{option.default}`" if option.show_default else ""
    return f"| `{', '.join(option.opts)}{value}` | {default} | {option.help} |"


def _value(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "\\|".join(map(str, option.type.choices))
    return option.metavar or option.type.name.upper().replace(" RANGE", "")
