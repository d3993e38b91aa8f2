"""The signed release repository: TUF metadata (theupdateframework.github.io/specification, 1.0) by the `tuf` library.

Rules:

1. The state of the repository is what ``timestamp.json`` leads to. Every other file has a number or a hash in its name
   and is never changed; a file that nothing leads to does not count. So a change is the replacing of one small file.
2. The order of writing is: files, delegated roles, targets, snapshot, timestamp. After a crash at any moment clients
   find the old state or the new one, whole; a number that was used is not used again.
3. Keys are changed so that no client ever meets metadata that its root does not cover: what a new key will sign is
   first signed by the old and the new one. Where the old key of timestamp or snapshot is lost that cannot be: clients
   that look between two writes refuse what they see, and find the new state with their next look.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # documented there
from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import (  # type: ignore[attr-defined]  # documented there, defined in _payload
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from handlens.durable import write_durably
from handlens.errors import HandlensError
from handlens.faults import fault_point
from handlens.wire.release import ReleaseFile
from handlens_server.key_files import OFFLINE, Keys

__all__ = ["DELEGATED", "Lifetimes", "Repository", "RepositoryError"]

DELEGATED = {
    "models": ["models/*/*"],
    "packs": ["packs/*/*"],
    "policy": ["channels/*", "releases/*", "policies/*", "taxonomies/*"],
}
_TOP = ("snapshot", "timestamp")
_OFFLINE_THRESHOLD = 2
_NUMBERED = re.compile(r"(\d+)\.([a-z]+)\.json")
_COMPACT = JSONSerializer(compact=True)

S = TypeVar("S", bound=Signed)


class RepositoryError(HandlensError):
    """The release repository is missing, damaged, or cannot be written."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Days until metadata expires; a device with expired metadata searches on and takes no new release."""

    root: int = 365
    targets: int = 365
    delegated: int = 90
    snapshot: int = 7
    timestamp: int = 2


@dataclass(slots=True)
class Repository:
    """The repository in `folder`, signed with `keys`."""

    folder: Path
    keys: Keys
    lifetimes: Lifetimes = field(default_factory=Lifetimes)

    @property
    def metadata_dir(self) -> Path:
        """Where the metadata lies."""
        return self.folder / "metadata"

    @property
    def exists(self) -> bool:
        """Whether something was published: there is a timestamp."""
        return (self.metadata_dir / "timestamp.json").is_file()

    def create(self) -> None:
        """Make an empty repository that trusts the keys.

        Raises:
            RepositoryError: there is one. KeyFileError: a key is missing.
        """
        if self.exists:
            raise RepositoryError(f"{self.folder} is a repository already: rotate its keys, or choose another folder")
        root = Root(consistent_snapshot=True, expires=self._expiry("root"), version=1)
        offline = [self.keys.signer(name) for name in OFFLINE]
        for role in ("root", "targets"):
            for signer in offline:
                root.add_key(signer.public_key, role)
            root.roles[role].threshold = _OFFLINE_THRESHOLD
        for role in _TOP:
            root.add_key(self.keys.signer(role).public_key, role)
        self._write_numbered("root", Metadata(root), offline)
        self._write_targets(Targets(version=1, delegations=self._delegations()))
        for role in DELEGATED:
            self._write_numbered(role, Metadata(Targets(expires=self._expiry("delegated"))), [self.keys.signer(role)])
        self._write_top({f"{role}.json": 1 for role in ("targets", *DELEGATED)})

    def targets(self, role: str) -> dict[str, ReleaseFile]:
        """The files that a delegated role vouches for, by their path."""
        signed: Targets = self._current(role).signed
        return {
            path: ReleaseFile(path, target.hashes["sha256"], target.length) for path, target in signed.targets.items()
        }

    def publish(self, files: Mapping[str, Iterable[ReleaseFile]]) -> None:
        """Let each role in `files` vouch for exactly these files, which lie in place already.

        Raises:
            RepositoryError: the repository is missing or cannot be written, or a key is not the one that is trusted.
            KeyFileError: a key is missing.
        """
        self._require_trusted_keys()
        versions = self._versions()
        for role, wanted in files.items():
            targets = {file.path: _target(file) for file in wanted}
            signed: Targets = self._current(role).signed
            if signed.targets == targets and not self._is_old(signed, "delegated"):
                continue
            signed.targets, signed.expires = targets, self._expiry("delegated")
            versions[f"{role}.json"] = self._renumber(role, signed)
            self._write_numbered(role, Metadata(signed), [self.keys.signer(role)])
        self._write_top(versions)

    def refresh(self) -> None:
        """Sign snapshot and timestamp anew, and delegated roles whose life is half over: what a timer does daily."""
        self.publish({role: list(self.targets(role).values()) for role in DELEGATED})

    def rotate(self, name: str) -> None:
        """Replace a key by a new one of the same name; the old one is kept as a retired file.

        An offline key needs two of the old offline keys. Roots and targets are signed by the old and the new keys.

        Raises:
            KeyFileError: a key that must sign is missing. RepositoryError: the repository cannot be written.
        """
        old = self.keys.signer(name)
        if name in OFFLINE:
            self._change_offline(name, old.public_key.keyid)
        elif name in DELEGATED:
            self._change_delegated(name, [old])
        else:
            self._change_top(name, [old])

    def replace_lost(self, name: str) -> None:
        """Take a lost key out and a new one in: two of the three offline keys must be there.

        Of several lost online keys timestamp and snapshot come first. After the first of these two the repository
        lacks the other's signature, and clients keep what they have until it is replaced, too.

        Raises:
            RepositoryError: the key is not lost. KeyFileError: a key that must sign is missing.
        """
        if self.keys.has(name):
            raise RepositoryError(
                f"the key {name} is here, so it is not lost: rotate it without --lost, or, when a replacement was "
                "interrupted, sign anew (handlens-server release refresh)"
            )
        if name in OFFLINE:
            self._change_offline(name, self._lost_key())
        elif name in DELEGATED:
            self._change_delegated(name, [])
        else:
            self._change_top(name, [])

    def roots(self) -> dict[int, bytes]:
        """Every root, by its version."""
        return {version: self._numbered_path("root", version).read_bytes() for version in self._numbers("root")}

    def current_files(self) -> set[str]:
        """The names of the metadata files that the current state consists of: every root, and one file a role."""
        names = {f"{version}.root.json" for version in self._numbers("root")}
        names |= {f"{version}.{name}" for name, version in self._versions().items()}
        return names | {"timestamp.json", f"{self._timestamp().signed.snapshot_meta.version}.snapshot.json"}

    def expiries(self) -> dict[str, datetime]:
        """When each role's metadata expires."""
        return {role: self._current(role).signed.expires for role in self._roles()}

    def _change_top(self, name: str, old: list[CryptoSigner]) -> None:
        """Put a new key in the place of that of snapshot or timestamp; `old` is empty when it is lost."""
        offline, new = self.keys.offline(_OFFLINE_THRESHOLD), self.keys.upcoming(name)
        root: Root = self._current("root").signed
        if new.public_key.keyid not in root.roles[name].keyids:
            if old:
                self._write_top(self._versions(), also={name: new})  # right under the old root and the new one
            for key_id in list(root.roles[name].keyids):
                root.revoke_key(key_id, name)
            root.add_key(new.public_key, name)
            self._write_root(root, offline)
        self.keys.promote(name)
        if all(self.keys.has(role) for role in _TOP):
            self._write_top(self._versions())

    def _change_delegated(self, name: str, old: list[CryptoSigner]) -> None:
        """Put a new key in the place of that of a delegated role; `old` is empty when it is lost."""
        # Keys that are missing are missed before anything changes.
        for role in _TOP:
            self.keys.signer(role)
        self.keys.offline(_OFFLINE_THRESHOLD)
        new = self.keys.upcoming(name)
        targets: Targets = self._current("targets").signed
        if new.public_key.keyid not in self._trusted(targets, name):
            versions = self._versions()
            signed: Targets = self._current(name).signed
            versions[f"{name}.json"] = self._renumber(name, signed)
            self._write_numbered(name, Metadata(signed), [*old, new])
            for key_id in self._trusted(targets, name):
                targets.revoke_key(key_id, name)
            targets.add_key(new.public_key, name)
            versions["targets.json"] = self._renumber("targets", targets)
            self._write_targets(targets)
            self._write_top(versions)
        self.keys.promote(name)

    def _change_offline(self, name: str, leaving: str) -> None:
        """Put a new key in the place of the one with the id `leaving`, in roots and targets."""
        signers, new = self.keys.offline(_OFFLINE_THRESHOLD), self.keys.upcoming(name)
        root: Root = self._current("root").signed
        if new.public_key.keyid not in root.roles["root"].keyids:
            versions = self._versions()
            targets: Targets = self._current("targets").signed
            versions["targets.json"] = self._renumber("targets", targets)
            targets.expires = self._expiry("targets")
            # Signed by old and new keys first: right under the old root and the new one.
            self._write_numbered("targets", Metadata(targets), [*signers, new])
            self._write_top(versions)
            for role in ("root", "targets"):
                root.revoke_key(leaving, role)
                root.add_key(new.public_key, role)
            self._write_root(root, [*signers, new])
        self.keys.promote(name)

    def _require_trusted_keys(self) -> None:
        root: Root = self._current("root").signed
        targets: Targets = self._current("targets").signed
        for role in (*_TOP, *DELEGATED):
            trusted = root.roles[role].keyids if role in root.roles else self._trusted(targets, role)
            if self.keys.signer(role).public_key.keyid not in trusted:
                raise RepositoryError(
                    f"the key {role} is not the one that the repository trusts: finish its rotation "
                    f"(handlens-server keys rotate {role}), or give the right --keys"
                )

    def _lost_key(self) -> str:
        """The id of the offline key that is not here."""
        here = {signer.public_key.keyid for signer in self.keys.offline(_OFFLINE_THRESHOLD)}
        missing = [key_id for key_id in self._current("root").signed.roles["root"].keyids if key_id not in here]
        if len(missing) != 1:
            raise RepositoryError(f"{len(missing)} offline keys are not here: bring the media of the two that are left")
        return str(missing[0])

    def _trusted(self, targets: Targets, name: str) -> list[str]:
        delegations = targets.delegations
        roles = {} if delegations is None else delegations.roles or {}
        return list(roles[name].keyids) if name in roles else []

    def _write_root(self, root: Root, signers: list[CryptoSigner]) -> None:
        root.expires = self._expiry("root")
        self._renumber("root", root)
        self._write_numbered("root", Metadata(root), signers)

    def _write_targets(self, targets: Targets) -> None:
        targets.expires = self._expiry("targets")
        self._write_numbered("targets", Metadata(targets), self.keys.offline(_OFFLINE_THRESHOLD))

    def _write_top(self, versions: Mapping[str, int], *, also: Mapping[str, CryptoSigner] | None = None) -> None:
        """Write snapshot and timestamp; `also` signs a role with one more key."""
        more = also or {}
        snapshot = Snapshot(
            version=self._next_number("snapshot"),
            expires=self._expiry("snapshot"),
            meta={name: MetaFile(version) for name, version in versions.items()},
        )
        self._write_numbered("snapshot", Metadata(snapshot), _with(self.keys.signer("snapshot"), more.get("snapshot")))
        former = self._timestamp().signed.version if self.exists else 0
        timestamp = Timestamp(
            version=former + 1, expires=self._expiry("timestamp"), snapshot_meta=MetaFile(snapshot.version)
        )
        signers = _with(self.keys.signer("timestamp"), more.get("timestamp"))
        self._write(self.metadata_dir / "timestamp.json", _signed_bytes(Metadata(timestamp), signers))

    def _delegations(self) -> Delegations:
        keys = {role: self.keys.signer(role).public_key for role in DELEGATED}
        return Delegations(
            keys={key.keyid: key for key in keys.values()},
            roles={
                role: DelegatedRole(role, [keys[role].keyid], 1, terminating=True, paths=paths)
                for role, paths in DELEGATED.items()
            },
        )

    def _versions(self) -> dict[str, int]:
        """The version of each role in the current state."""
        snapshot: Snapshot = self._current("snapshot").signed
        return {name: meta.version for name, meta in snapshot.meta.items()}

    def _roles(self) -> tuple[str, ...]:
        return ("root", "targets", *DELEGATED, *_TOP)

    def _current(self, role: str) -> Metadata[Any]:
        if not self.exists:
            raise RepositoryError(f"{self.folder} is not a repository: make its keys first (handlens-server keys init)")
        if role == "timestamp":
            return self._timestamp()
        if role == "root":
            return self._read(self._numbered_path("root", max(self._numbers("root"))))
        if role == "snapshot":
            return self._read(self._numbered_path("snapshot", self._timestamp().signed.snapshot_meta.version))
        return self._read(self._numbered_path(role, self._versions()[f"{role}.json"]))

    def _timestamp(self) -> Metadata[Any]:
        return self._read(self.metadata_dir / "timestamp.json")

    def _read(self, path: Path) -> Metadata[Any]:
        try:
            return Metadata.from_bytes(path.read_bytes())
        except (OSError, TufError) as error:
            raise RepositoryError(f"{path} cannot be read ({error}): restore the repository from a backup") from error

    def _renumber(self, role: str, signed: Signed) -> int:
        signed.version = self._next_number(role)
        return signed.version

    def _next_number(self, role: str) -> int:
        return max(self._numbers(role), default=0) + 1

    def _numbers(self, role: str) -> list[int]:
        folder = self.metadata_dir
        names = (_NUMBERED.fullmatch(path.name) for path in folder.iterdir()) if folder.is_dir() else ()
        return [int(found[1]) for found in names if found and found[2] == role]

    def _numbered_path(self, role: str, version: int) -> Path:
        return self.metadata_dir / f"{version}.{role}.json"

    def _write_numbered(self, role: str, metadata: Metadata[Any], signers: list[CryptoSigner]) -> None:
        self._write(self._numbered_path(role, metadata.signed.version), _signed_bytes(metadata, signers))

    def _write(self, path: Path, data: bytes) -> None:
        fault_point(f"repository.{path.name.rpartition('.')[0].rpartition('.')[2]}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, data)
        except OSError as error:
            raise RepositoryError(f"{path} cannot be written ({error.strerror}): make room on the disk") from error

    def _expiry(self, role: str) -> datetime:
        now = datetime.now(timezone.utc).replace(microsecond=0)
        return now + timedelta(days=getattr(self.lifetimes, role))

    def _is_old(self, signed: Signed, role: str) -> bool:
        left = signed.expires - datetime.now(timezone.utc)
        return left < timedelta(days=getattr(self.lifetimes, role)) / 2


def _with(signer: CryptoSigner, other: CryptoSigner | None) -> list[CryptoSigner]:
    return [signer] if other is None else [signer, other]


def _signed_bytes(metadata: Metadata[Any], signers: list[CryptoSigner]) -> bytes:
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes(_COMPACT)


def _target(file: ReleaseFile) -> TargetFile:
    return TargetFile(length=file.size, hashes={"sha256": file.sha256}, path=file.path)
