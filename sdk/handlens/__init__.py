"""handlens: visual search that fits in the hand.

>>> from handlens import Lens
>>> with Lens() as lens:                       # doctest: +SKIP
...     result = lens.search("street.jpg")     # never touches the network

Names are imported when they are first used: ``import handlens`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handlens.client import Lens as Lens
    from handlens.errors import BoxError as BoxError
    from handlens.errors import BudgetError as BudgetError
    from handlens.errors import BusyError as BusyError
    from handlens.errors import DecodeError as DecodeError
    from handlens.errors import DeviceError as DeviceError
    from handlens.errors import DownloadError as DownloadError
    from handlens.errors import ExpiredReleaseError as ExpiredReleaseError
    from handlens.errors import FeedbackError as FeedbackError
    from handlens.errors import HandlensError as HandlensError
    from handlens.errors import HashMismatchError as HashMismatchError
    from handlens.errors import HTTPStatusError as HTTPStatusError
    from handlens.errors import ImageError as ImageError
    from handlens.errors import IncompatibleError as IncompatibleError
    from handlens.errors import IncompatibleReleaseError as IncompatibleReleaseError
    from handlens.errors import LengthExceededError as LengthExceededError
    from handlens.errors import ModelError as ModelError
    from handlens.errors import NotReadyError as NotReadyError
    from handlens.errors import OfflineError as OfflineError
    from handlens.errors import OptionsError as OptionsError
    from handlens.errors import ReleaseError as ReleaseError
    from handlens.errors import RollbackError as RollbackError
    from handlens.errors import SignatureError as SignatureError
    from handlens.errors import StoreCorruptError as StoreCorruptError
    from handlens.errors import StoreError as StoreError
    from handlens.errors import StoreVersionError as StoreVersionError
    from handlens.errors import SyncError as SyncError
    from handlens.errors import UnknownPackError as UnknownPackError
    from handlens.geometry import Box as Box
    from handlens.index import ExactIndex as ExactIndex
    from handlens.index import HnswIndex as HnswIndex
    from handlens.options import Options as Options
    from handlens.results import FoundObject as FoundObject
    from handlens.results import Match as Match
    from handlens.results import SearchResult as SearchResult
    from handlens.results import Section as Section
    from handlens.vision.detector import Detector as Detector
    from handlens.vision.embedder import Embedder as Embedder

__version__ = "0.1.0"

_HOMES = {
    "Box": "geometry",
    "BoxError": "errors",
    "BudgetError": "errors",
    "BusyError": "errors",
    "DecodeError": "errors",
    "Detector": "vision.detector",
    "DeviceError": "errors",
    "DownloadError": "errors",
    "Embedder": "vision.embedder",
    "ExactIndex": "index",
    "ExpiredReleaseError": "errors",
    "FeedbackError": "errors",
    "FoundObject": "results",
    "HTTPStatusError": "errors",
    "HandlensError": "errors",
    "HashMismatchError": "errors",
    "HnswIndex": "index",
    "ImageError": "errors",
    "IncompatibleError": "errors",
    "IncompatibleReleaseError": "errors",
    "LengthExceededError": "errors",
    "Lens": "client",
    "Match": "results",
    "ModelError": "errors",
    "NotReadyError": "errors",
    "OfflineError": "errors",
    "Options": "options",
    "OptionsError": "errors",
    "ReleaseError": "errors",
    "RollbackError": "errors",
    "SearchResult": "results",
    "Section": "results",
    "SignatureError": "errors",
    "StoreCorruptError": "errors",
    "StoreError": "errors",
    "StoreVersionError": "errors",
    "SyncError": "errors",
    "UnknownPackError": "errors",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'handlens' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"handlens.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
