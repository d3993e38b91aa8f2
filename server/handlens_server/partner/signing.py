"""Signed texts that a partner keeps and gives back: insights tokens, cursors, thumbnails' tickets (itsdangerous).

Rules:

1. The secret is ``HANDLENS_PARTNER_SECRET``, the same for all servers; several, with commas between, while it changes:
   the first signs, all are good. Without it a server makes one in its data folder, readable by its user alone.
2. What is signed for one purpose is good for no other (`salt`), and carries its end (`expires`, seconds since 1970).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from handlens.durable import sync_folder
from handlens_server.config import Config, ConfigError

__all__ = ["Signer", "SignedTextError", "open_signer"]

_FILE = "partner-secret"
_LEAST = 32  # characters of a secret


class SignedTextError(Exception):
    """A text was not signed here for this purpose, or its time is over (`is_expired`)."""

    def __init__(self, *, is_expired: bool) -> None:
        super().__init__("expired" if is_expired else "not signed here")
        self.is_expired = is_expired


class Signer:
    """Signs and reads small JSON objects."""

    def __init__(self, secret_keys: list[str]) -> None:
        self._keys = secret_keys[::-1]  # itsdangerous signs with the last one

    def sign(self, purpose: str, values: Mapping[str, Any]) -> str:
        """The text: letters, digits, ``-``, ``_`` and ``.``."""
        return str(URLSafeSerializer(self._keys, salt=f"handlens.partner.{purpose}").dumps(dict(values)))

    def read(self, purpose: str, text: str, now: datetime) -> dict[str, Any]:
        """What was signed.

        Raises:
            SignedTextError: it was not signed here for this purpose, or its time is over.
        """
        try:
            values = URLSafeSerializer(self._keys, salt=f"handlens.partner.{purpose}").loads(text)
        except BadData as error:
            raise SignedTextError(is_expired=False) from error
        if not isinstance(values, dict):
            raise SignedTextError(is_expired=False)
        if values.get("expires", float("inf")) <= now.timestamp():
            raise SignedTextError(is_expired=True)
        return values


def open_signer(config: Config) -> Signer:
    """The signer of a server.

    Raises:
        ConfigError: the secret is too short, or the data folder cannot be written.
    """
    given = [one.strip() for one in config.partner_secret.split(",") if one.strip()]
    if any(len(one) < _LEAST for one in given):
        raise ConfigError(f"HANDLENS_PARTNER_SECRET is too short: give {_LEAST} random characters or more")
    return Signer(given or [_own_secret(config.data_dir / _FILE)])


def _own_secret(path: Path) -> str:
    try:
        if not path.exists():
            _make_secret(path)
        return path.read_text("ascii").strip()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be used ({error.strerror}): give the folder to this user, or set HANDLENS_PARTNER_SECRET"
        ) from error


def _make_secret(path: Path) -> None:
    """Several workers may try: a link takes the name only where there is none yet."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(partial, path)
    except FileExistsError:
        pass  # another worker was quicker, and its secret holds
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)
