"""Searches that go on while a device syncs: in a thread of the syncing process, or in a process of their own.

A round of searches is: the index alone (five times), the store alone (the items of 40 neighbours and a search of two
words), and a whole `Lens.search` of a decoded photo. Each is noted with its start (`time.monotonic`, one clock for all
processes of a machine) and its length.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measure import REPOSITORY

from handlens import Lens, Options
from handlens.vision.image import Photo, load_photo

__all__ = ["LEVELS", "PHOTO", "Searched", "searching_process", "searching_thread"]

LEVELS = ("index", "store", "photo")
PHOTO = REPOSITORY / "demo" / "queries" / "images" / "horses.jpg"
_WORD = "lighthouse"
_INDEX_TURNS = 5
_NEIGHBOURS = 40


class Searched(NamedTuple):
    """One search: what of, when it began (seconds), how long it took (milliseconds)."""

    level: str
    begun: float
    took: float


@contextmanager
def searching_thread(lens: Lens) -> Iterator[list[Searched]]:
    """Searches with `lens` in a thread until the block ends; the list fills meanwhile."""
    found: list[Searched] = []
    photo = load_photo(PHOTO)
    lens.search(photo)
    stop = threading.Event()
    thread = threading.Thread(target=_search, args=(lens, photo, stop.is_set, found))
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


@contextmanager
def searching_process(device: Path, threads: int) -> Iterator[list[Searched]]:
    """Searches a device in a process of its own until the block ends; then the list is filled."""
    found: list[Searched] = []
    command = [sys.executable, __file__, str(device), str(threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise SystemExit("the process that searches ended; its message is above")
        yield found
        answer, _ = process.communicate("stop\n")
    found += [Searched(*one) for one in json.loads(answer)]


def _search(lens: Lens, photo: Photo, is_over: Callable[[], bool], found: list[Searched]) -> None:
    random = np.random.default_rng(1)
    store = lens._opened()
    while not is_over():
        for _ in range(_INDEX_TURNS):
            index = lens._ready().index.index
            query = random.standard_normal(index.dim).astype(np.float32)
            near = _note(found, "index", lambda index=index, query=query: index.search(query, _NEIGHBOURS))
        ids = [int(id) for id in near.ids]
        _note(found, "store", lambda ids=ids: (store.items_of(ids), store.search_text(_WORD, limit=_NEIGHBOURS)))
        _note(found, "photo", lambda: lens.search(photo))


def _note(found: list[Searched], level: str, call: Callable[[], Any]) -> Any:
    begun = time.monotonic()
    answer = call()
    found.append(Searched(level, begun, (time.monotonic() - begun) * 1000))
    return answer


def main() -> None:
    device, threads = Path(sys.argv[1]), int(sys.argv[2])
    with Lens(Options(data_dir=device, threads=threads)) as lens:
        with searching_thread(lens) as found:
            print("ready", flush=True)
            sys.stdin.readline()
        print(json.dumps(found))


if __name__ == "__main__":
    main()
