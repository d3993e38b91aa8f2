"""Policy files of the workshop: read, or refused with the path of the fault."""

from __future__ import annotations

from pathlib import Path

from handlens.blend import Policy
from handlens.errors import DecodeError, HandlensError

__all__ = ["PolicyError", "read_policy"]


class PolicyError(HandlensError):
    """A policy file cannot be read, or cannot be followed."""


def read_policy(path: Path) -> Policy:
    """The policy in a file.

    Raises:
        PolicyError: there is none, or it is refused; the message gives the path of the fault.
    """
    try:
        return Policy.from_json(path.read_bytes())
    except OSError as error:
        raise PolicyError(f"{path} cannot be read ({error.strerror}): give a policy file") from error
    except DecodeError as error:
        raise PolicyError(f"{path}: {error}") from error
