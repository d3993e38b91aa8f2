"""The server's full index, in the process and on Milvus: build, start, catch-up, and searches, over one catalogue.

    HANDLENS_INDEX=milvus://127.0.0.1:19530/benchmark python benchmarks/full_index.py --out out/full_index.json

The catalogue is a SQLite database of seeded unit vectors around random centres, 50 to a centre; queries are drawn alike
and are not in it. Without HANDLENS_INDEX only the index in the process is measured. What each figure is:

* build_s: a rebuild from the database until it answers, on Milvus until all segments are linked.
* start_s: a new process's index is opened (or connected) and refreshed, and answers once.
* catch_up_s: the refresh after 1,000 items changed, until a search finds one of them. one_change_s: after one item.
* search: k = 10 and k = 40, one caller, both indexes in turns query by query; recall@10 against an exact scan.

Targets: recall@10 of 0.98, and one change seen by a search within a second, of each index.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from index_recall import clustered
from measure import machine, target, write_json

sys.path += [str(Path(__file__).parents[1] / name) for name in ("sdk", "server")]

from handlens.index import ExactIndex
from handlens.wire.pack import decode_codes, encode_codes
from handlens_server.catalogue import touch
from handlens_server.checking import untracked
from handlens_server.config import Config
from handlens_server.database import open_database
from handlens_server.index_choice import open_full_index
from handlens_server.tables import EmbeddingRow, ItemRow

SPACE = "benchmark"
BATCH = 5000
CHANGES = 1000
BOX = json.dumps([[0, 0, 1, 1]])


def item_id(number):
    return f"item-{number:07d}"


def fill(database, codes):
    """Items with one part each, as an import leaves them."""
    for start in range(0, len(codes), BATCH):
        with database.session() as session:
            rows = [_item(number) for number in range(start, min(start + BATCH, len(codes)))]
            session.add_all(rows)
            session.add_all(_embedding(row, codes[start + at], "") for at, row in enumerate(rows))
            touch(session, rows)


def _item(number):
    told = {"kind": "product", "object_type": "home", "locale": "", "audience": "all", "quality": 0.5}
    return ItemRow(item_id=item_id(number), feed="benchmark", record="{}", picture=str(number), sequence=0, **told)


def _embedding(row, code, change):
    row.picture = f"{row.item_id}{change}"
    return EmbeddingRow(picture=row.picture, space=SPACE, detector="", parts=BOX, codes=code.tobytes(), thumbnail=b"")


def change(database, numbers, codes, name):
    with database.session() as session:
        rows = [session.get_one(ItemRow, item_id(number)) for number in numbers]
        session.add_all(_embedding(row, code, name) for row, code in zip(rows, codes, strict=True))
        touch(session, rows)


def refresh(index, database):
    with database.read() as session:
        return index.refresh(session)


def seconds(call):
    begun = time.perf_counter()
    call()
    return round(time.perf_counter() - begun, 3)


def seen_after(index, database, vector, wanted):
    """Refresh, and search until `wanted` is found first."""
    refresh(index, database)
    until = time.monotonic() + 60
    while index.search(vector, 1)[0][0] != wanted:
        if time.monotonic() > until:
            raise SystemExit("a change was not seen within a minute")


def prepare(index, reopen, database, dim):
    """Figures of one index but its searches, and the index."""
    figures = {"build_s": seconds(lambda: index.rebuild(database, track=untracked))}
    index.maintain(database)
    index.close()
    again = []

    def start():
        again.append(reopen())
        refresh(again[0], database)
        again[0].search(np.ones(dim, np.float32), 10)

    figures["start_s"] = seconds(start)
    return figures, again[0]


def changes(indexes, database, dim, count, seed):
    """Seconds until each index shows 1,000 changes, and one; both see the same changes."""
    random = np.random.default_rng(seed + 7)
    figures = {name: {} for name in indexes}
    for what, many in (("catch_up_s", CHANGES), ("one_change_s", 1)):
        numbers = random.choice(count, many, replace=False)
        vectors = random.standard_normal((many, dim)).astype(np.float32)
        codes = encode_codes(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        change(database, numbers.tolist(), codes, what)
        query = decode_codes(codes[-1:])[0]
        for name, index in indexes.items():
            figures[name][what] = seconds(
                lambda index=index, query=query, number=int(numbers[-1]): seen_after(
                    index, database, query, item_id(number)
                )
            )
    return figures


def searches(indexes, queries):
    taken = {(name, k): [] for name in indexes for k in (10, 40)}
    for query in queries:
        for name, k in taken:
            begun = time.perf_counter()
            indexes[name].search(query, k)
            taken[name, k].append((time.perf_counter() - begun) * 1000)
    figures = {name: {} for name in indexes}
    for (name, k), samples in taken.items():
        p50, p99 = np.percentile(samples, [50, 99])
        figures[name][f"search_k{k}_ms"] = {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}
    return figures


def recall(index, exact, names, queries):
    hits = 0
    for query in queries:
        wanted = {names[at] for at in exact.search(query, 10).ids.tolist()}
        hits += len(wanted & {found for found, _, _ in index.search(query, 10)})
    return round(hits / (10 * len(queries)), 4)


def measure(options, folder):
    data = clustered(options.count, options.dim, seed=options.seed)
    vectors, queries = data[: options.count], data[options.count :][: options.queries]
    codes = encode_codes(vectors)
    exact = ExactIndex(space=SPACE, dim=options.dim)
    exact.upsert(np.arange(options.count), decode_codes(codes))
    names = [item_id(number) for number in range(options.count)]
    settings = {"local": Config(data_dir=folder)}
    if os.environ.get("HANDLENS_INDEX"):
        settings["milvus"] = Config(data_dir=folder, index=os.environ["HANDLENS_INDEX"])
    with open_database(settings["local"], create=True) as database:
        fill(database, codes)
        indexes, figures = {}, {}
        for name, config in settings.items():
            reopen = lambda config=config: open_full_index(config, space=SPACE, dim=options.dim)  # noqa: E731
            figures[name], indexes[name] = prepare(reopen(), reopen, database, options.dim)
            print(name, figures[name], flush=True)
        for name, found in searches(indexes, queries).items():
            figures[name] |= {**found, "recall_at_10": recall(indexes[name], exact, names, queries)}
        for name, found in changes(indexes, database, options.dim, options.count, options.seed).items():
            figures[name] |= found
        for index in indexes.values():
            index.close()
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--queries", type=int, default=300, help="at most 1000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options, Path(folder))
    print(json.dumps(figures, indent=1))
    targets = []
    for name, found in figures.items():
        targets.append(target(f"{name}: neighbours of ten that are missed", 1 - found["recall_at_10"], 0.02))
        targets.append(target(f"{name}: seconds until one change is seen", found["one_change_s"], 1.0))
    write_json(
        options.out,
        {
            "command": "python " + " ".join(sys.argv),
            "machine": before,
            "load_average_at_the_end": os.getloadavg(),
            "count": options.count,
            "dim": options.dim,
            "indexes": figures,
            "targets": targets,
        },
    )
    sys.exit(not all(one["met"] for one in targets))


if __name__ == "__main__":
    main()
