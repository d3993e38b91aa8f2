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
    ├── SyncError                   the device was not brought up to date: the last release stays in use
    │   ├── DownloadError           try later
    │   │   ├── OfflineError        the server could not be reached, or does not answer in time
    │   │   ├── HTTPStatusError     it answered with an error status (`status`)
    │   │   ├── LengthExceededError it sent more than was promised
    │   │   └── BudgetError         the download is larger than allowed, or the network may not be used now
    │   ├── ReleaseError            do not trust what was offered
    │   │   ├── SignatureError      signatures are missing, wrong or too few
    │   │   ├── RollbackError       it is older than what this device has seen
    │   │   ├── ExpiredReleaseError its metadata has expired (or this device's clock is wrong)
    │   │   ├── HashMismatchError   a file or the state of a pack is not what the release says
    │   │   └── IncompatibleReleaseError  it does not fit this handlens, or does not fit together
    │   ├── BusyError               another process is syncing this store
    │   └── DeviceError             the server refuses this device: revoked, over its limit, or not enrolled
    ├── TrainingDataError           events and photos cannot be made into training data (the workshop's pipeline)
    ├── FeedbackError (ValueError)  this feedback cannot be kept: no consent for it, or it is too large
    └── DecodeError                 a wire record is malformed

The tree is split by what the caller does next. Each message names the cause and the remedy. Programmer mistakes stay
``ValueError``, ``TypeError`` and ``RuntimeError``.
"""

from __future__ import annotations

__all__ = [
    "BoxError",
    "BudgetError",
    "BusyError",
    "DecodeError",
    "DeviceError",
    "DownloadError",
    "ExpiredReleaseError",
    "FeedbackError",
    "HTTPStatusError",
    "HandlensError",
    "HashMismatchError",
    "ImageError",
    "IncompatibleError",
    "IncompatibleReleaseError",
    "LengthExceededError",
    "ModelError",
    "NotReadyError",
    "OfflineError",
    "OptionsError",
    "ReleaseError",
    "RollbackError",
    "SignatureError",
    "StoreCorruptError",
    "StoreError",
    "StoreVersionError",
    "SyncError",
    "TrainingDataError",
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


class SyncError(HandlensError):
    """The device was not brought up to date; the last release stays in use."""


class DownloadError(SyncError):
    """Something could not be fetched: try later. What is there already is not fetched again."""


class OfflineError(DownloadError):
    """The server could not be reached, or did not answer in time."""


class HTTPStatusError(DownloadError):
    """The server answered with an error status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class LengthExceededError(DownloadError):
    """The server sent more bytes than the release promised."""


class BudgetError(DownloadError):
    """The download is larger than the caller allows, or the network may not be used now."""


class ReleaseError(SyncError):
    """What was offered is not to be trusted or does not fit; nothing of it was used."""


class SignatureError(ReleaseError):
    """Signatures are missing, wrong or too few."""


class RollbackError(ReleaseError):
    """Older than what this device has seen, or a mixture of old and new."""


class ExpiredReleaseError(ReleaseError):
    """The metadata has expired: no newer release can be proved to exist or not. Searches go on."""


class HashMismatchError(ReleaseError):
    """A file, or the state of a pack after it was applied, is not what the release says."""


class IncompatibleReleaseError(ReleaseError):
    """The release does not fit this handlens, or its parts do not fit together."""


class BusyError(SyncError):
    """Another process is syncing this store: try again when it is done."""


class DeviceError(SyncError):
    """The server refuses this device: it is revoked, over its limit, or must enrol first."""


class TrainingDataError(HandlensError):
    """Events and photos cannot be made into training data: too much of them is bad, or the machine lacks a part."""


class FeedbackError(HandlensError, ValueError):
    """This feedback cannot be kept: consent does not cover it, or it is too large."""


class DecodeError(HandlensError):
    """A wire record is malformed: it names the field and what was expected."""
