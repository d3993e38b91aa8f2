"""The command line of the backend: ``handlens-server``, with a group for each part of it.

Each group lives in a module of its own, which is imported when the group is used: the command line answers at once.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, cast

import click

from handlens import __version__
from handlens.console import ErrorGroup

__all__ = ["main"]

_COMMANDS = {
    "run": ("console_run", "command", "Serve devices over HTTP."),
    "db": ("console_db", "group", "Make or upgrade the database."),
    "catalog": ("console_catalog", "group", "Import, check, embed and withdraw items."),
    "index": ("console_index", "group", "Look at the server's own index, build and check it."),
    "pack": ("console_packs", "group", "Say which items a pack holds."),
    "keys": ("console_keys", "group", "Make and rotate the keys that sign releases."),
    "release": ("console_release", "group", "Publish, check and bundle releases."),
    "policy": ("console_policy", "group", "Check, compare, try and score a blending policy."),
    "device": ("console_device", "group", "List and revoke devices."),
    "events": ("console_events", "group", "Export and prune what devices sent."),
    "partner": ("console_partner", "group", "Partners, their profiles and their keys."),
}


class _LazyCommands(MutableMapping[str, click.Command]):
    """The commands by name; a command's module is imported when the command is asked for."""

    def __init__(self) -> None:
        self._found: dict[str, click.Command | None] = dict.fromkeys(_COMMANDS)

    def __getitem__(self, name: str) -> click.Command:
        command = self._found[name]
        if command is None:
            module, attribute, _ = _COMMANDS[name]
            command = self._found[name] = cast(
                "click.Command", getattr(import_module(f"handlens_server.{module}"), attribute)
            )
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._found[name] = command

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class _LazyGroup(ErrorGroup):
    """Shows its help without importing its commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _LazyCommands()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="handlens-server")
def main() -> None:
    """The handlens backend: catalogues in, releases out."""
