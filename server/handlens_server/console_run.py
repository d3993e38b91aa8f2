"""``handlens-server run``: serve devices over HTTP."""

from __future__ import annotations

import click

from handlens_server.config import Config
from handlens_server.console_options import server_options

__all__ = ["command"]


@click.command("run")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes.")
@click.option("--threads", type=click.IntRange(1), default=8, show_default=True, help="Threads a process.")
@server_options
def command(config: Config, host: str, port: int, workers: int, threads: int) -> None:
    """Serve devices over HTTP, until SIGTERM or Ctrl-C.

    The database is made or upgraded first. The address is printed when the server listens; logs go to standard error.
    """
    from handlens_server.serving import ServerOptions, serve

    serve(config, ServerOptions(host=host, port=port, workers=workers, threads=threads))
