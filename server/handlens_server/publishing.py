"""Releases: made, offered to more devices, brought back. One process at a time publishes.

Rules:

1. Everything a release needs is in place and checked before the repository's timestamp makes it visible.
2. `serial` grows by one with every release. The record of each is kept under ``history/``; a record whose serial no
   channel reached is left over from a publish that was interrupted, and is overwritten. A repository that was made anew
   beside an old history goes on counting after it.
3. Going back is a release like any other: a new serial whose parts and whose packs' content are those of the old one,
   but for the items that were withdrawn since.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import func, select

from handlens.durable import write_durably
from handlens.errors import HandlensError
from handlens.faults import fault_point
from handlens.wire.release import CHANNEL_PATH, Channel, ChannelEntry, PackRelease, Release, ReleaseFile, is_name
from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.key_files import Keys
from handlens_server.pack_states import Lines, PackStates, Space, stored_name
from handlens_server.packs import pack_rules
from handlens_server.release_parts import ReleaseParts, place_file, place_parts
from handlens_server.repository import DELEGATED, Lifetimes, Repository
from handlens_server.stored_rows import load_rows, unembedded
from handlens_server.sweeping import sweep
from handlens_server.tables import ItemRow

__all__ = ["PublishError", "Publisher", "ReleaseLine"]

_KEPT_RELEASES = 16  # records and parts kept for going back
_MIN_SDK = "0.1.0"

Track = Callable[[Lines, str], Lines]


class PublishError(HandlensError):
    """The release cannot be made."""


@dataclass(frozen=True, slots=True)
class ReleaseLine:
    """One release in a list: where it is offered, and to how many percent of devices (0: to none any more)."""

    release: Release
    channel: str
    percent: float


class Publisher:
    """Publishes into the repository of `config`, signing with `keys`."""

    def __init__(self, config: Config, keys: Keys, *, lifetimes: Lifetimes | None = None) -> None:
        self._config = config
        self.repository = Repository(config.repository_path, keys, lifetimes or Lifetimes())
        self._targets = config.repository_path / "targets"
        self._history = config.data_dir / "history"
        self._states = PackStates(config.data_dir / "states", self._targets)

    def publish(
        self,
        database: Database,
        models: Path,
        *,
        name: str | None = None,
        channel: str | None = None,
        percent: float = 100,
        serial: int = 1,
        track: Track | None = None,
    ) -> Release:
        """Make a release of the catalogue as it is: every defined pack, with the models and documents in `models`.

        Its serial is the next one, or `serial` where that is greater: a backup may be older than what devices have.

        Raises:
            PublishError: no pack is defined, a picture is not embedded, or the name is taken.
            PartsError, KeyFileError, RepositoryError, PackStateError, DatabaseError: as they say. Nothing is visible
            of a release that failed.
        """
        with self._locked(), database.read() as session:
            parts = place_parts(models, self._targets)
            rules = pack_rules(session)
            if not rules:
                raise PublishError("no pack is defined: say what a pack holds (handlens-server pack define)")
            missing = unembedded(session, parts.space)
            if missing:
                raise PublishError(
                    f"{missing} items are not embedded in {parts.space}: run handlens-server catalog embed first"
                )
            follow = track or (lambda lines, pack: lines)
            packs = {
                pack: follow(load_rows(session, parts.space, rule.matches, rule.top), pack)
                for pack, rule in rules.items()
            }
            sequence = session.scalar(select(func.max(ItemRow.sequence))) or 1
            return self._publish(packs, parts, sequence, name, channel, percent, serial)

    def publish_rows(
        self,
        packs: Mapping[str, Lines],
        models: Path,
        *,
        sequence: int = 1,
        name: str | None = None,
        channel: str | None = None,
        percent: float = 100,
        serial: int = 1,
    ) -> Release:
        """Make a release of rows that do not come from the catalogue; raises as `publish`."""
        with self._locked():
            return self._publish(packs, place_parts(models, self._targets), sequence, name, channel, percent, serial)

    def widen(self, percent: float, *, channel: str | None = None) -> ChannelEntry:
        """Offer the newest release of a channel to `percent` of the devices.

        Raises:
            PublishError: nothing was published, or it is offered to more already.
        """
        with self._locked():
            found = self._channel(channel or self._config.channel)
            if found is None:
                raise PublishError("nothing was published yet: handlens-server release publish")
            newest = found.entries[0]
            if percent < newest.percent:
                raise PublishError(
                    f"release {newest.release!r} is offered to {newest.percent:g} percent already: devices that took "
                    "it keep it; to undo it, use release rollback"
                )
            entry = replace(newest, percent=_percent(percent))
            self._offer(replace(found, entries=_offered(entry, found.entries[1:])))
            return entry

    def rollback(
        self,
        to: str | None = None,
        *,
        name: str | None = None,
        channel: str | None = None,
        without: Container[str] = (),
    ) -> Release:
        """Make a release whose parts and packs are those of an older one (by default the one before the newest).

        The items whose ids are in `without` stay out: what was withdrawn must not come back by an undo.

        Raises:
            PublishError: there is no such release, or its states are not kept any more.
        """
        with self._locked():
            releases = self._published()
            wanted = self._older(releases, to)
            sequence = max(pack.sequence for release in releases for pack in release.packs.values()) + 1
            parts = ReleaseParts(
                wanted.detector, wanted.embedder, wanted.taxonomy, wanted.policy, wanted.space, wanted.dim
            )
            packs = {
                pack: (row for row in self._states.lines(pack, state.sequence) if row[0] not in without)
                for pack, state in wanted.packs.items()
            }
            return self._publish(packs, parts, sequence, name, channel, 100)

    def releases(self) -> list[ReleaseLine]:
        """Every release that is kept, newest first, with where it is offered."""
        offered = {
            entry.serial: (channel.name, entry.percent) for channel in self.channels() for entry in channel.entries
        }
        return [
            ReleaseLine(release, *offered.get(release.serial, ("", 0.0))) for release in reversed(self._published())
        ]

    def channels(self) -> list[Channel]:
        """Every channel."""
        if not self.repository.exists:
            return []
        files = self.repository.targets("policy")
        return [
            Channel.from_json(self._read(file)) for path, file in sorted(files.items()) if path.startswith("channels/")
        ]

    def refresh(self) -> None:
        """Sign the metadata anew before it expires."""
        with self._locked():
            self.repository.refresh()

    def rotate(self, name: str, *, lost: bool = False) -> None:
        """Replace a key, see `Repository.rotate` and `Repository.replace_lost`."""
        with self._locked():
            if lost:
                self.repository.replace_lost(name)
            else:
                self.repository.rotate(name)

    def _publish(
        self,
        packs: Mapping[str, Lines],
        parts: ReleaseParts,
        sequence: int,
        name: str | None,
        channel: str | None,
        percent: float,
        least_serial: int = 1,
    ) -> Release:
        if not self.repository.exists:
            self.repository.create()
        published = self._published()
        serial = max(least_serial, (published[-1].serial if published else self._last_serial()) + 1)
        wanted = _usable(name or f"r{serial}", "release")
        followed = _usable(channel or self._config.channel, "channel")
        if any(release.name == wanted for release in published):
            raise PublishError(f"a release {wanted!r} was published before: choose another name")
        as_of = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        space = Space(parts.space, parts.dim, as_of)
        former = published[-1].packs if published else {}
        states = {
            pack: self._states.build(
                pack, lines, space, at_least=sequence, former=former.get(pack), last=_last_state(published, pack)
            )
            for pack, lines in packs.items()
        }
        release = Release(
            name=wanted,
            serial=serial,
            as_of=as_of,
            min_sdk=_MIN_SDK,
            space=parts.space,
            dim=parts.dim,
            detector=parts.detector,
            embedder=parts.embedder,
            taxonomy=parts.taxonomy,
            policy=parts.policy,
            packs=states,
        )
        file = self._keep(release)
        self._offer(self._with_new(followed, release, file, percent))
        sweep(self.repository, [*published[-_KEPT_RELEASES:], release], self._history)
        return release

    def _keep(self, release: Release) -> ReleaseFile:
        data = json.dumps(release.to_dict(), separators=(",", ":"), sort_keys=True).encode()
        self._history.mkdir(parents=True, exist_ok=True)
        Release.from_json(data)  # what a device would refuse must not be offered
        write_durably(self._history / f"{release.serial:08d}.json", data)
        fault_point("publish.record")
        return place_file(self._targets, f"releases/{release.name}.json", data)

    def _with_new(self, name: str, release: Release, file: ReleaseFile, percent: float) -> Channel:
        found = self._channel(name)
        former = () if found is None else found.entries
        entry = ChannelEntry(release.name, release.serial, _percent(percent) if former else 100, file)
        return Channel(name, _offered(entry, former))

    def _offer(self, channel: Channel) -> None:
        """Make a channel what devices find: with the files of every release that is offered anywhere, and no others."""
        channels = {other.name: other for other in self.channels()} | {channel.name: channel}
        documents = [self._place_channel(one) for one in channels.values()]
        entries = {entry.serial: entry for one in channels.values() for entry in one.entries}
        releases = [Release.from_json(self._read(entry.file)) for entry in entries.values()]
        files: dict[str, set[ReleaseFile]] = {role: set() for role in DELEGATED}
        files["policy"] |= {*documents, *(entry.file for entry in entries.values())}
        for release in releases:
            files["policy"] |= {release.taxonomy, release.policy}
            files["models"] |= {*release.detector.files.values(), *release.embedder.files.values()}
            files["packs"] |= {file.file for pack in release.packs.values() for file in pack.files}
        fault_point("publish.offer")
        self.repository.publish({role: sorted(named, key=lambda file: file.path) for role, named in files.items()})
        fault_point("publish.offered")

    def _place_channel(self, channel: Channel) -> ReleaseFile:
        data = json.dumps(channel.to_dict(), separators=(",", ":"), sort_keys=True).encode()
        return place_file(self._targets, CHANNEL_PATH.format(channel=channel.name), data)

    def _channel(self, name: str) -> Channel | None:
        return next((channel for channel in self.channels() if channel.name == name), None)

    def _published(self) -> list[Release]:
        """The releases that are kept and were offered, oldest first."""
        last = max((entry.serial for channel in self.channels() for entry in channel.entries), default=0)
        paths = sorted(self._history.glob("*.json")) if self._history.is_dir() else []
        return [Release.from_json(path.read_bytes()) for path in paths if int(path.stem) <= last]

    def _last_serial(self) -> int:
        """The greatest serial ever used here, for a repository that was made anew: no device goes back by itself."""
        return max((int(path.stem) for path in self._history.glob("*.json")), default=0)

    def _older(self, releases: list[Release], to: str | None) -> Release:
        if to is None and len(releases) < 2:
            raise PublishError("there is no release before the newest one: nothing to go back to")
        found = releases[-2] if to is None else next((one for one in releases if one.name == to), None)
        if found is None:
            known = ", ".join(release.name for release in releases) or "none"
            raise PublishError(f"there is no release {to!r}: kept are {known}")
        return found

    def _read(self, file: ReleaseFile) -> bytes:
        path = self._targets / stored_name(file)
        try:
            return path.read_bytes()
        except OSError as error:
            raise PublishError(f"{path} cannot be read ({error.strerror}): restore it from a backup") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._config.data_dir.mkdir(parents=True, exist_ok=True)
            with FileLock(self._config.data_dir / "publish.lock", timeout=0):
                yield
        except Timeout as error:
            raise PublishError("another process is publishing here: try again when it is done") from error


def _offered(entry: ChannelEntry, former: Iterable[ChannelEntry]) -> tuple[ChannelEntry, ...]:
    """A channel's entries with a new one before the former ones: none stands after one that is for all devices."""
    if entry.percent >= 100:
        return (entry,)
    kept = []
    for other in former:
        kept.append(other)
        if other.percent >= 100:
            break
    return (entry, *kept)


def _usable(name: str, what: str) -> str:
    if not is_name(name):
        raise PublishError(
            f"{what} name {name[:80]!r} cannot be used: give at most 61 lower-case letters, digits, '.', '_' and '-'"
        )
    return name


def _last_state(releases: Iterable[Release], pack: str) -> int:
    return max((release.packs[pack].sequence for release in releases if pack in release.packs), default=0)


def _percent(percent: float) -> float:
    if not 0 <= percent <= 100:
        raise PublishError(f"{percent} is no percentage: give a number from 0 to 100")
    return percent


def pack_summary(packs: Mapping[str, PackRelease]) -> str:
    """The packs of a release in one line."""
    return ", ".join(f"{name} {pack.items} items (state {pack.sequence})" for name, pack in packs.items())
