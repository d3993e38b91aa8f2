"""Whether something new was published: one small file tells."""

from __future__ import annotations

import hashlib
from pathlib import Path

from handlens.errors import HandlensError

__all__ = ["CHANGING", "RepositoryError", "published_version"]

CHANGING = "timestamp.json"  # the only file of a repository that changes under its name


class RepositoryError(HandlensError):
    """The release repository cannot be read."""


def published_version(folder: Path) -> str:
    """A word that changes with each publish, or nothing when nothing was published yet.

    Raises:
        RepositoryError: it cannot be read.
    """
    try:
        return hashlib.sha256((folder / "metadata" / CHANGING).read_bytes()).hexdigest()[:16]
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise RepositoryError(f"{folder} cannot be read ({error.strerror}): give this user the right to") from error
