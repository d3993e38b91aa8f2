"""States of packs and the files between them: what is kept, what is merged, and that every way leads to the digest."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.signed_release import DIM, SPACE, rows

from handlens.wire.pack import PackDelete, add_digests, parse_change, read_pack_lines, row_digest
from handlens.wire.release import PackRelease, cheapest_path
from handlens_server.pack_states import KEPT_STATES, KEPT_STEPS, PackStateError, PackStates, Space, stored_name

AS_OF = Space(SPACE, DIM, "2026-01-01T00:00:00Z")
NAMES = [f"item-{at:03d}" for at in range(300)]


class Workshop:
    """The states of one pack in a folder, built one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.targets = folder / "targets"
        self.states = PackStates(folder / "states", self.targets)
        self.last: PackRelease | None = None
        self.contents: dict[int, dict[str, bytes]] = {}

    def build(self, lines: list[tuple[str, bytes]], space: Space = AS_OF) -> PackRelease:
        last = 0 if self.last is None else self.last.sequence
        self.last = self.states.build("demo", lines, space, at_least=1, former=self.last, last=last)
        self.contents[self.last.sequence] = dict(lines)
        return self.last

    def replayed(self, held: int | None) -> dict[str, bytes]:
        """What a device that holds the state `held` (None: nothing) has after the cheapest path to the newest."""
        assert self.last is not None
        path = cheapest_path(self.last.files, held, self.last.sequence)
        assert path is not None
        found = {} if held is None else dict(self.contents[held])
        for file in path:
            header, lines = read_pack_lines(self.targets / stored_name(file.file))
            assert (header.from_sequence, header.sequence) == (file.from_sequence, file.sequence)
            found = {} if header.kind == "base" else found
            for line in lines:
                change = parse_change(line, dim=header.dim)
                if isinstance(change, PackDelete):
                    del found[change.item_id]
                else:
                    found[change.row.item.item_id] = line
            assert add_digests(added=map(row_digest, found.values())) == header.digest
        return found


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def changed(count: int, value: int) -> list[tuple[str, bytes]]:
    """All rows, of which `count` are of another value than 1."""
    return sorted([*rows(*NAMES[count:]), *rows(*NAMES[:count], value=value)])


def test_the_first_state_is_a_base(workshop: Workshop) -> None:
    state = workshop.build(rows(*NAMES))
    assert [(file.from_sequence, file.sequence) for file in state.files] == [(0, 1)]
    assert (state.items, state.vectors) == (300, 300)
    assert workshop.replayed(None) == dict(rows(*NAMES))


def test_content_that_did_not_change_makes_no_new_state(workshop: Workshop) -> None:
    first = workshop.build(rows(*NAMES))
    assert workshop.build(list(rows(*NAMES))) is first


def test_the_order_of_the_rows_does_not_matter_to_the_digest(workshop: Workshop, tmp_path: Path) -> None:
    state = workshop.build(rows(*NAMES))
    other = Workshop(tmp_path / "other").build(list(reversed(rows(*NAMES))))
    assert state.digest == other.digest


def test_a_delta_has_the_changed_rows_and_the_deleted_ids_only(workshop: Workshop) -> None:
    workshop.build(rows(*NAMES))
    state = workshop.build(sorted([*rows(*NAMES[2:]), *rows("new"), *rows(NAMES[1], value=2)]))
    (delta,) = [file for file in state.files if file.from_sequence]
    header, lines = read_pack_lines(workshop.targets / stored_name(delta.file))
    assert (header.changes, header.items) == (3, 300)
    told = [parse_change(line, dim=DIM) for line in lines]
    assert [one.item_id for one in told if isinstance(one, PackDelete)] == [NAMES[0]]


def test_from_each_state_that_a_device_may_hold_a_way_leads_to_the_newest(workshop: Workshop) -> None:
    for value in range(2, 2 + KEPT_STATES + 4):
        workshop.build(changed(value % 5, value))
    newest = workshop.contents[max(workshop.contents)]
    for held in [None, *workshop.contents]:
        assert workshop.replayed(held) == newest


def test_a_device_that_missed_a_few_states_takes_few_deltas_and_no_base(workshop: Workshop) -> None:
    for value in range(2, 2 + KEPT_STATES):
        workshop.build(changed(3, value))
    assert workshop.last is not None
    states = sorted(workshop.contents)
    for back in range(1, KEPT_STEPS + 1):
        path = cheapest_path(workshop.last.files, states[-1 - back], states[-1])
        assert path is not None
        assert len(path) <= 4
        assert all(file.from_sequence for file in path)


def test_the_base_stays_while_little_changed_and_is_made_anew_when_much_did(workshop: Workshop) -> None:
    first = workshop.build(rows(*NAMES))
    base = first.files[0]
    assert workshop.build(changed(2, 2)).files[0] == base
    much = workshop.build(changed(250, 3))
    assert [file.sequence for file in much.files if not file.from_sequence] == [much.sequence]


def test_states_and_files_do_not_pile_up(workshop: Workshop) -> None:
    for value in range(2, 2 + 3 * KEPT_STATES):
        state = workshop.build(changed(3, value))
        assert len(state.files) <= 1 + KEPT_STEPS + 4
    assert len(list((workshop.folder / "states" / "demo").iterdir())) <= KEPT_STATES
    with pytest.raises(PackStateError, match="not kept any more"):
        list(workshop.states.lines("demo", 1))


def test_another_embedding_space_begins_with_a_base(workshop: Workshop) -> None:
    workshop.build(rows(*NAMES))
    state = workshop.build(changed(1, 2), Space("another", DIM, AS_OF.as_of))
    assert [file.from_sequence for file in state.files] == [0]


def test_a_pack_may_become_empty_and_fill_again(workshop: Workshop) -> None:
    workshop.build(rows(*NAMES))
    empty = workshop.build([])
    assert (empty.items, empty.vectors) == (0, 0)
    assert workshop.replayed(1) == {}
    workshop.build(rows("axe"))
    assert workshop.replayed(1) == dict(rows("axe"))


def test_what_an_interrupted_publish_left_is_removed(workshop: Workshop) -> None:
    first = workshop.build(rows(*NAMES))
    workshop.build(changed(2, 2))  # its release was never offered
    workshop.last = first
    again = workshop.build(changed(4, 3))
    assert again.sequence == 2
    assert workshop.replayed(1) == dict(changed(4, 3))
