"""What has to be fetched to come from what the store holds to a release: decided here, done elsewhere. No I/O.

Rules:

1. A pack takes the path of files with the fewest bytes (`cheapest_path`); a pack in its wanted state takes none. A
   state is recognised by its sequence and its digest, so a store that disagrees takes the base.
2. A base is taken, whatever the sizes, when the embedding space changes.
3. What is on the device already costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from handlens.errors import IncompatibleReleaseError
from handlens.store import PackState
from handlens.wire.release import PackFile, Release, ReleaseFile, cheapest_path

__all__ = ["Plan", "choose_packs", "make_plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The packs to remove, the files that bring each pack to its state, and every file that is needed.

    `bytes` is what is still to be fetched.
    """

    dropped: tuple[str, ...]
    paths: Mapping[str, tuple[PackFile, ...]]
    files: tuple[ReleaseFile, ...]
    bytes: int

    @property
    def pack_bytes(self) -> int:
        """The size of all pack files, compressed."""
        return sum(file.file.size for path in self.paths.values() for file in path)


def choose_packs(release: Release, wanted: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The packs to hold and those that are wanted but not in the release; nothing wanted means all."""
    if not wanted:
        return tuple(sorted(release.packs)), ()
    held = tuple(name for name in wanted if name in release.packs)
    return held, tuple(name for name in wanted if name not in release.packs)


def make_plan(
    release: Release,
    packs: tuple[str, ...],
    held: tuple[PackState, ...],
    needed: tuple[ReleaseFile, ...],
    missing_bytes: Callable[[ReleaseFile], int],
) -> Plan:
    """The plan for holding `packs` of `release` on a store that holds the states `held`.

    `needed` are the files of models and documents that are not in place; `missing_bytes` says how much of a file is
    still to be fetched.

    Raises:
        IncompatibleReleaseError: the release has no path to the state of a pack.
    """
    states = {state.pack: state for state in held}
    paths = {name: _path(release, name, states.get(name)) for name in packs}
    files = (*needed, *(file.file for path in paths.values() for file in path))
    dropped = tuple(name for name in states if name not in packs)
    return Plan(dropped, paths, files, sum(missing_bytes(file) for file in files))


def _path(release: Release, name: str, state: PackState | None) -> tuple[PackFile, ...]:
    pack = release.packs[name]
    is_usable = state is not None and (state.space, state.dim) == (release.space, release.dim)
    if state is not None and is_usable and state.sequence == pack.sequence:
        if state.digest == pack.digest:
            return ()
        is_usable = False
    path = cheapest_path(pack.files, state.sequence if state is not None and is_usable else None, pack.sequence)
    if path is None:
        raise IncompatibleReleaseError(
            f"release {release.name!r} has no files that lead to state {pack.sequence} of pack {name!r}: ask the "
            "operator of the server to publish again"
        )
    return path
