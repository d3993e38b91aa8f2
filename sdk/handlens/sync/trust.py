"""What a repository says, proved: TUF (theupdateframework.github.io/specification, 1.0) by the `tuf` library.

Rules:

1. The first root comes with the app (`Options.trusted_root`) or, on a device that has none, with the first folder that
   is installed; it is kept as the anchor. Later roots must be signed by the root before them.
2. Nothing is used whose signatures, versions and expiry were not checked; every refusal keeps what was there.
3. Expiry is not checked for a folder: a factory image lies on a shelf for a year. Its versions are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import (  # type: ignore[attr-defined]  # documented there, defined in _payload
    Metadata,
    Root,
    TargetFile,
)
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from handlens.durable import write_durably
from handlens.errors import (
    ExpiredReleaseError,
    HashMismatchError,
    HTTPStatusError,
    IncompatibleReleaseError,
    LengthExceededError,
    ReleaseError,
    RollbackError,
    SignatureError,
    SyncError,
)
from handlens.sync.transport import Transport
from handlens.wire.release import ReleaseFile

__all__ = ["TrustedRepository", "choose_anchor"]

_BASE = "repository:/"
_ANCHOR = "anchor.json"
_MAX_DOCUMENT = 4_000_000  # bytes of a channel, release, policy or taxonomy
_MAX_METADATA = 1_000_000  # bytes of one metadata file: a hundred packs take 100 kB
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

T = TypeVar("T")


class TrustedRepository:
    """One look at a repository, in one consistent state.

    Raises:
        SignatureError: the anchor is not a root.
    """

    def __init__(self, transport: Transport, trust_dir: Path, anchor: bytes, *, checks_expiry: bool) -> None:
        self._trust_dir = trust_dir
        limits = UpdaterConfig(
            root_max_length=_MAX_METADATA, snapshot_max_length=_MAX_METADATA, targets_max_length=_MAX_METADATA
        )
        with _translated():
            self._updater = Updater(
                str(trust_dir), f"{_BASE}metadata/", fetcher=_Fetcher(transport), config=limits, bootstrap=anchor
            )
        if not checks_expiry:
            # The library has no setting for it. Its clock is one attribute, read by every check of expiry.
            self._updater._trusted_set.reference_time = _EPOCH

    def refresh(self) -> None:
        """Bring root, timestamp, snapshot and targets up to date.

        Raises:
            DownloadError: the repository cannot be read now. ReleaseError: it is not to be trusted.
        """
        with _translated():
            self._updater.refresh()

    def file(self, path: str) -> ReleaseFile:
        """Size and hash of a file, as the role that is responsible for it signed them.

        Raises:
            ReleaseError: no role vouches for it, or what should is not to be trusted. DownloadError: not now.
        """
        with _translated():
            found = self._updater.get_targetinfo(path)
        if found is None:
            raise ReleaseError(f"the repository has no signed {path}: nothing was changed, ask its operator")
        return _release_file(found)

    def require(self, file: ReleaseFile) -> None:
        """Refuse a file of a release that is not exactly the one that its role signed (mix and match)."""
        signed = self.file(file.path)
        if signed != file:
            raise HashMismatchError(
                f"the release names another {file.path} than the one that was signed: nothing was changed"
            )


def choose_anchor(trust_dir: Path, given: Path | None, offered: Callable[[], bytes] | None) -> bytes:
    """The root that trust begins with: the one kept, else `given`, else what a folder offers.

    A `given` root that is none of those known here begins anew: an app update after a lost key brings one. What is no
    root, signed by its own keys, takes nothing away from the trust that is there.

    Raises:
        SyncError: there is none, or `given` cannot be read. SignatureError: `given`, or what is offered, is no root.
    """
    kept = _kept(trust_dir)
    wanted = None if given is None else _read_given(given)
    if wanted is None and kept is None and offered is not None:
        wanted = offered()
    if wanted is None and kept is None:
        raise SyncError(
            "this device trusts no root yet: set trusted_root (--trusted-root) to the root.json that the operator of "
            "the server gave you"
        )
    if wanted is None or _is_known(trust_dir, wanted):
        return kept or wanted or b""  # one of the two is there
    _require_root(wanted, "what the folder offers" if given is None else f"the trusted root {given}")
    _begin_anew(trust_dir, wanted)
    return wanted


def _kept(trust_dir: Path) -> bytes | None:
    """The anchor or, where a failing disk damaged it, the oldest root that followed from it."""
    followed = sorted((trust_dir / "root_history").glob("*.root.json"), key=lambda path: (len(path.name), path.name))
    found = (_read(path) for path in (trust_dir / _ANCHOR, *followed))
    return next((data for data in found if data is not None and _is_root(data)), None)


def _is_root(data: bytes) -> bool:
    try:
        _require_root(data, "")
    except SignatureError:
        return False
    return True


def _is_known(trust_dir: Path, root: bytes) -> bool:
    history = trust_dir / "root_history"
    known = [trust_dir / _ANCHOR, *(history.iterdir() if history.is_dir() else ())]
    return (trust_dir / _ANCHOR).is_file() and any(_read(path) == root for path in known)


def _require_root(data: bytes, what: str) -> None:
    try:
        root = Metadata[Root].from_bytes(data)
        root.verify_delegate(Root.type, root)
    except (tuf_errors.RepositoryError, ValueError) as error:
        raise SignatureError(
            f"{what} is no root.json ({error}): take the one that the operator of the server gave you"
        ) from error


def _begin_anew(trust_dir: Path, root: bytes) -> None:
    try:
        trust_dir.mkdir(parents=True, exist_ok=True)
        write_durably(trust_dir / _ANCHOR, root)
        for path in [*trust_dir.glob("*.json"), *trust_dir.glob("root_history/*.json")]:
            if path.name != _ANCHOR:
                path.unlink()
    except OSError as error:
        raise SyncError(f"{trust_dir} cannot be written ({error.strerror}): make room on the disk") from error


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _read_given(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise SyncError(f"the trusted root {path} cannot be read ({error.strerror}): check trusted_root") from error


class _Fetcher(FetcherInterface):
    """What the library fetches with: our transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield from self._transport.read(url.removeprefix(_BASE))
        except HTTPStatusError as error:
            raise tuf_errors.DownloadHTTPError(str(error), error.status) from error


@contextmanager
def _translated() -> Iterator[None]:
    """The library's errors as ours, by what the caller can do; our own pass through it as they are."""
    try:
        yield
    except SyncError:
        raise
    except tuf_errors.DownloadHTTPError as error:
        raise HTTPStatusError(str(error), error.status_code) from error
    except tuf_errors.DownloadLengthMismatchError as error:
        raise LengthExceededError(f"the server sends more than it may ({error}): try again later") from error
    except tuf_errors.DownloadError as error:
        raise _cause(error) from error
    except tuf_errors.ExpiredMetadataError as error:
        raise ExpiredReleaseError(
            f"the repository's metadata has expired ({error}), or this device's clock ({_now()}) is wrong: the last "
            "release stays in use, check the clock or ask the operator of the server"
        ) from error
    except tuf_errors.UnsignedMetadataError as error:
        raise SignatureError(f"the repository is not signed as it must be ({error}): nothing was changed") from error
    except tuf_errors.BadVersionNumberError as error:
        raise RollbackError(f"the repository is older than what this device has seen ({error})") from error
    except tuf_errors.LengthOrHashMismatchError as error:
        raise HashMismatchError(f"the repository contradicts itself ({error}): nothing was changed") from error
    except tuf_errors.RepositoryError as error:
        raise ReleaseError(f"the repository cannot be trusted ({error}): nothing was changed") from error
    except OSError as error:
        raise SyncError(f"the trust folder cannot be written ({error.strerror}): make room on the disk") from error


def _cause(error: BaseException) -> SyncError:
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, SyncError):
            return found
        found = found.__cause__
    return SyncError(str(error))


def _release_file(target: TargetFile) -> ReleaseFile:
    sha256 = target.hashes.get("sha256")
    if sha256 is None:
        raise IncompatibleReleaseError(f"{target.path} is signed without a SHA-256: upgrade handlens")
    return ReleaseFile(target.path, sha256, target.length)


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%d")
