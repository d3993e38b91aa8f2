"""Every error that handlens raises for something outside the programmer's control.

::

    HandlensError
    ├── ImageError                  the photo cannot be used: ask for another
    ├── BoxError (also ValueError)  the box is empty, inverted or outside the photo
    ├── OptionsError (ValueError)   an option has a value that cannot work
    ├── ModelError                  a model or its runtime is missing, damaged, or not as its model.json says
    ├── StoreError                  the device's store cannot serve this
    │   ├── NotReadyError           nothing is installed yet
    │   ├── StoreCorruptError       a file of the store is damaged
    │   ├── StoreVersionError       the store was written by a newer handlens
    │   ├── UnknownPackError        a pack that is not installed was asked for
    │   └── IncompatibleError       what was offered does not fit what is installed (other embedder, other dimension)
    └── DecodeError                 a wire record is malformed

The tree is split by what the caller does next. Each message names the cause and the remedy. Programmer mistakes stay
``ValueError``, ``TypeError`` and ``RuntimeError``.
"""

from __future__ import annotations

__all__ = [
    "BoxError",
    "DecodeError",
    "HandlensError",
    "ImageError",
    "IncompatibleError",
    "ModelError",
    "NotReadyError",
    "OptionsError",
    "StoreCorruptError",
    "StoreError",
    "StoreVersionError",
    "UnknownPackError",
]


class HandlensError(Exception):
    """Base of every error of handlens."""


class ImageError(HandlensError):
    """The photo cannot be used: ask for another one."""


class BoxError(HandlensError, ValueError):
    """A box is empty, inverted, not finite, or lies outside the photo."""


class OptionsError(HandlensError, ValueError):
    """An option has a value that cannot work."""


class ModelError(HandlensError):
    """A model, or the runtime that should run it, is missing, damaged, or not as its model.json says."""


class StoreError(HandlensError):
    """The device's store cannot serve this."""


class NotReadyError(StoreError):
    """Nothing is installed yet: install a release first."""


class StoreCorruptError(StoreError):
    """A file of the store is damaged: it can be rebuilt from the release."""


class StoreVersionError(StoreError):
    """The store was written by a newer handlens: upgrade the package."""


class UnknownPackError(StoreError):
    """A pack that is not installed was asked for."""


class IncompatibleError(StoreError):
    """What was offered does not fit what is installed, such as vectors of another embedder."""


class DecodeError(HandlensError):
    """A wire record is malformed: it names the field and what was expected."""
