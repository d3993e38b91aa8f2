"""The keys that sign releases, as files: Ed25519, PKCS #8 PEM, readable by their owner alone.

Rules:

1. ``root1``, ``root2`` and ``root3`` are the offline keys: two of them sign the roots of trust (roles root and
   targets). Keep each on a medium of its own. The others are online: one key a role.
2. A key never overwrites another one: one that is replaced stays as ``retired-<name>-<beginning of its id>.pem``.
3. With a passphrase (``HANDLENS_KEY_PASSPHRASE``) the files are encrypted.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # documented there

from handlens.durable import sync_folder
from handlens.errors import HandlensError
from handlens.faults import fault_point

__all__ = ["OFFLINE", "ONLINE", "KeyFileError", "Keys"]

OFFLINE = ("root1", "root2", "root3")
ONLINE = ("models", "packs", "policy", "snapshot", "timestamp")
_PASSPHRASE = "HANDLENS_KEY_PASSPHRASE"


class KeyFileError(HandlensError):
    """A key is missing, damaged, or would be overwritten."""


class Keys:
    """A folder of keys. `passphrase` decrypts them, and encrypts those that are made."""

    def __init__(self, folder: Path, *, passphrase: str | None = None) -> None:
        self._folder = folder
        given = os.environ.get(_PASSPHRASE, "") if passphrase is None else passphrase
        self._passphrase = given.encode() or None

    def create(self, name: str) -> CryptoSigner:
        """Make a key.

        Raises:
            KeyFileError: there is one, or the folder cannot be written.
        """
        key = Ed25519PrivateKey.generate()
        secret = (
            serialization.BestAvailableEncryption(self._passphrase)
            if self._passphrase
            else serialization.NoEncryption()
        )
        data = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
        path = self._path(name)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _place_new(path, data)
        except FileExistsError as error:
            raise KeyFileError(f"{path} exists: keys are never overwritten, rotate it instead") from error
        except OSError as error:
            raise KeyFileError(f"{path} cannot be written ({error.strerror}): choose another folder") from error
        return CryptoSigner(key)

    def has(self, name: str) -> bool:
        """Whether the key is there."""
        return self._path(name).is_file()

    def signer(self, name: str) -> CryptoSigner:
        """A key, ready to sign.

        Raises:
            KeyFileError: it is not there, damaged, or its passphrase is another.
        """
        path = self._path(name)
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), self._passphrase)
        except FileNotFoundError as error:
            raise KeyFileError(f"the key {name} is not in {self._folder}: bring its medium, or give --keys") from error
        except OSError as error:
            raise KeyFileError(f"the key {path} cannot be read ({error.strerror}): check its owner") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f"the key {path} cannot be opened ({error}): check {_PASSPHRASE}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError(f"the key {path} is no Ed25519 key: it was not made by handlens-server keys")
        return CryptoSigner(key)

    def offline(self, least: int) -> list[CryptoSigner]:
        """The offline keys that are here, at least `least`.

        Raises:
            KeyFileError: there are fewer.
        """
        found = [self.signer(name) for name in OFFLINE if self.has(name)]
        if len(found) < least:
            raise KeyFileError(
                f"{self._folder} has {len(found)} of the offline keys {', '.join(OFFLINE)}, {least} must sign: bring "
                "their media"
            )
        return found

    def upcoming(self, name: str) -> CryptoSigner:
        """The key that will take the place of `name`: made now, or by a rotation that was interrupted."""
        waiting = f"next-{name}"
        return self.signer(waiting) if self.has(waiting) else self.create(waiting)

    def promote(self, name: str) -> None:
        """Let the upcoming key take its place; the old one stays as a retired file."""
        old, new = self._path(name), self._path(f"next-{name}")
        if old.exists():
            key_id = self.signer(name).public_key.keyid
            retired = self._folder / f"retired-{name}-{key_id[:12]}.pem"
            if not retired.exists():
                os.link(old, retired)
        fault_point("keys.promote")
        os.replace(new, old)
        sync_folder(self._folder)
        fault_point("keys.promoted")

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.pem"


def _place_new(path: Path, data: bytes) -> None:
    """Write a new file that its owner alone may read: afterwards it is there whole, or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fault_point("keys.create")
        os.link(partial, path)
    finally:
        partial.unlink()
    sync_folder(path.parent)
    fault_point("keys.created")
