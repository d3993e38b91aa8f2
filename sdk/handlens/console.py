"""What the command lines of handlens share: an error of the tree becomes one line and exit code 1."""

from __future__ import annotations

from typing import Any

import click

from handlens.errors import HandlensError

__all__ = ["ErrorGroup"]


class ErrorGroup(click.Group):
    """A group of commands that shows `HandlensError` as ``Error: cause and remedy`` and exits with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HandlensError as error:
            raise click.ClickException(str(error)) from error
