"""``POST /v1/search`` of a real server (gunicorn) over a synthetic catalogue: throughput and p99 by clients, workers.

    python benchmarks/server_search.py --data-dir out/server_search --out out/server_search.json
    python benchmarks/server_search.py --data-dir out/server_search --out out/server_search.json \\
        --index milvus://127.0.0.1:19530/bench --workers 1

The catalogue is made once in `--data-dir` (with a database, a release of the shipped models, and `--items` items) and
used again by later runs. A run measures one index with the numbers of workers given, and leaves the figures of the
other index and of other numbers of workers in `--out` as they are. Clients are threads of this process with one
connection each: on a machine of two cores they and the server share the cores, so the figures are what both together
can do. Embedding queries are drawn from the catalogue's own distribution; photo queries are the demo's query photos.

Then: how long it takes until a withdrawn item is left out by searches, and until a restored one is back; whether a
restarted server gives the same answers; and whether one that was killed (SIGKILL, all its processes), and missed a
withdrawal while it was down, gives the same answers without that item. The index should be there already
(`--prepare` builds it): until a graph is built, a server answers from an exact scan.

Exit code 1 when a change was seen after more than a second, a restart changed an answer, a withdrawn item was shown, or
a search failed.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sdk"))

from measure import REPOSITORY, machine, target, write_json
from synthetic import Synthetic

from handlens.wire.pack import encode_codes, encode_row
from handlens.wire.taxonomy import Taxonomy
from handlens_server.catalogue import restore_items, withdraw_items
from handlens_server.config import Config
from handlens_server.database import Database, open_database
from handlens_server.key_files import OFFLINE, ONLINE, Keys
from handlens_server.publishing import Publisher
from handlens_server.tables import EmbeddingRow, ItemRow, SequenceRow

MODELS = REPOSITORY / "models"
CLIENTS = (1, 8, 32)
VISIBLE_WITHIN = 1.0  # seconds
COMMAND = (sys.executable, "-c", "from handlens_server.cli import main; main()")
_BATCH = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clients", type=int, nargs="+", default=list(CLIENTS))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--changes", type=int, default=10, help="changes of the catalogue that are waited for")
    parser.add_argument("--index", default="", help="HANDLENS_INDEX of the server, such as milvus://localhost:19530")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--prepare", action="store_true", help="make the catalogue, build the index, and stop")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file, beside those that it has")
    arguments = parser.parse_args()

    spec = json.loads((MODELS / "embedder" / "model.json").read_text("utf-8"))["embedding"]
    taxonomy = Taxonomy.from_json((MODELS / "taxonomy.json").read_text("utf-8"))
    synthetic = Synthetic(arguments.items, spec["dim"], tuple(taxonomy.classifier), dict(taxonomy.classifier))
    config = prepare(arguments.data_dir, synthetic, spec["space"])
    if arguments.prepare:
        subprocess.run(
            [*COMMAND, "index", "build", "--data-dir", str(config.data_dir)], env=surroundings(arguments.index)
        )
        with serving(config, 1, arguments.index) as (_, opened_in):
            print(f"answers after {opened_in} s")
        return
    embeddings = [json_query(*one, spec["space"]) for one in synthetic.queries(400)]
    photos = [photo_query(path) for path in sorted((REPOSITORY / "demo" / "queries" / "images").iterdir())]
    measured = {}
    for workers in arguments.workers:
        bench = Bench(config, arguments.index, workers, embeddings, photos)
        measured[f"{workers} workers"] = bench.run(arguments.clients, arguments.seconds, arguments.changes)
    figures = merged(arguments.out, arguments.index.partition(":")[0] or "local", measured, arguments.items)
    write_json(arguments.out, figures)
    raise SystemExit(0 if all(one["met"] for row in measured.values() for one in row["targets"]) else 1)


@dataclass(frozen=True)
class Bench:
    """One index, one number of workers."""

    config: Config
    index: str
    workers: int
    embeddings: list[tuple[bytes, str]]
    photos: list[tuple[bytes, str]]

    def run(self, clients: list[int], seconds: float, changes: int) -> dict[str, Any]:
        rows = []
        with self._serving() as (url, opened_in):
            for kind, queries in (("embedding", self.embeddings), ("photo", self.photos)):
                for count in clients:
                    rows.append({"query": kind, "clients": count} | measure(url, queries, count, seconds))
                    print(self.workers, rows[-1], flush=True)
            asked = self.embeddings[-50:]  # none of those whose items are withdrawn below
            before = answers(url, asked)
            gone, back = visible(self.config, url, self.embeddings, changes)
        with self._serving() as (url, opened_again):
            restarted = sum(one != other for one, other in zip(before, answers(url, asked), strict=True))
        killed = self._killed(asked, before)
        figures = {
            "machine": machine(), "runs": rows, "seconds_to_open": opened_in, "seconds_to_open_again": opened_again,
            "seconds_until_withdrawn": gone, "seconds_until_restored": back, **killed,
        }  # fmt: skip
        targets = [
            target("seconds until a change is seen, the longest", max(gone + back), VISIBLE_WITHIN),
            target("answers of 50 that a restart changed", restarted, 0),
            target("answers of 50 that a kill changed", killed["answers_that_a_kill_changed"], 0),
            target("items shown that were withdrawn while the server was down", killed["withdrawn_and_shown"], 0),
            target("searches that failed", sum(row["failed"] for row in rows), 0),
        ]
        return figures | {"targets": targets}

    def _killed(self, asked: list[tuple[bytes, str]], before: list[Any]) -> dict[str, Any]:
        """Kill every process of a server, withdraw an item that it showed, and start it again."""
        with self._serving(end=signal.SIGKILL) as (url, _):
            (item_id, *_) = shown(client := Client(url), self.embeddings[0])
            client.close()
        withdraw(self.config, item_id)
        with self._serving() as (url, opened_in):
            client = Client(url)
            is_shown = item_id in shown(client, self.embeddings[0])
            restore(self.config, item_id)
            wait_for(client, self.embeddings[0], item_id, is_there=True)
            client.close()
            changed = sum(one != other for one, other in zip(before, answers(url, asked), strict=True))
        return {
            "seconds_to_open_after_a_kill": opened_in,
            "answers_that_a_kill_changed": changed,
            "withdrawn_and_shown": int(is_shown),
        }

    def _serving(self, end: signal.Signals = signal.SIGTERM) -> AbstractContextManager[tuple[str, float]]:
        return serving(self.config, self.workers, self.index, end=end)


def merged(path: Path | None, index: str, measured: dict[str, Any], items: int) -> dict[str, Any]:
    """The figures of before with the measured ones in their place, and the throughput of two workers beside one's."""
    known = json.loads(path.read_text("utf-8")) if path is not None and path.exists() else {}
    indexes: dict[str, Any] = known.get("indexes", {})
    indexes[index] = {name: row for name, row in indexes.get(index, {}).items() if name != "scaling"} | measured
    if len(indexes[index]) > 1:
        indexes[index]["scaling"] = scaling(indexes[index])
    return {"items": items, "indexes": indexes}


def prepare(folder: Path, synthetic: Synthetic, space: str, database_url: str = "") -> Config:
    """A backend with the catalogue and a release."""
    config = Config(data_dir=folder / "server", database_url=database_url)
    note = folder / f"made-{synthetic.count}-{synthetic.seed}"
    if note.exists():
        return config
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with open_database(config, create=True) as database:
        fill(database, synthetic, space)
    keys = Keys(folder / "keys")
    for name in (*OFFLINE, *ONLINE):
        keys.create(name)
    few = Synthetic(100, synthetic.dim, synthetic.labels, synthetic.types)
    lines = [(row.item.item_id, encode_row(row)) for row in few.rows()]
    Publisher(config, keys).publish_rows({"sample": lines}, MODELS, name="bench")
    note.touch()
    return config


def fill(database: Database, synthetic: Synthetic, space: str) -> None:
    batch: list[Any] = []
    for number, row in enumerate(synthetic.rows(), start=1):
        item, picture = row.item, f"{number:064x}"
        batch.append(
            ItemRow(
                item_id=item.item_id, sequence=number, is_withdrawn=False, feed="synthetic", kind=item.kind,
                object_type=item.object_type, locale=item.locale, audience=item.audience, quality=item.quality,
                record=json.dumps(item.to_dict()), picture=picture,
            )
        )  # fmt: skip
        batch.append(
            EmbeddingRow(
                picture=picture, space=space, detector="none", thumbnail=b"",
                parts=json.dumps([one.box.to_list() for one in row.embeddings]),
                codes=b"".join(one.code for one in row.embeddings),
            )
        )  # fmt: skip
        if len(batch) >= _BATCH:
            store(database, batch, number)
            batch = []
    store(database, batch, synthetic.count)


def store(database: Database, batch: list[Any], number: int) -> None:
    with database.session() as session:
        session.add_all(batch)
        session.get_one(SequenceRow, "catalogue").value = number


@contextmanager
def serving(
    config: Config, workers: int, index: str, *, end: signal.Signals = signal.SIGTERM
) -> Iterator[tuple[str, float]]:
    """The address of a server that answers searches, and how many seconds it took to; all its processes get `end`."""
    command = [*COMMAND, "run", "--data-dir", str(config.data_dir), "--port", "0", "--workers", str(workers)]
    settings: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "env": surroundings(index)}
    begun = time.perf_counter()
    with subprocess.Popen(command, **settings, text=True, start_new_session=True) as run:
        try:
            assert run.stdout is not None
            url = run.stdout.readline().split()[-1]
            threading.Thread(target=run.stdout.read, daemon=True).start()
            wait_until_open(url, workers)
            yield url, round(time.perf_counter() - begun, 1)
        finally:
            os.killpg(run.pid, end) if end == signal.SIGKILL else run.send_signal(end)
            run.wait(60)


def surroundings(index: str) -> dict[str, str]:
    """The environment of a server with that index."""
    path = os.pathsep.join(str(REPOSITORY / part) for part in ("sdk", "server"))
    return {**os.environ, "PYTHONPATH": path, "HANDLENS_INDEX": index}


def wait_until_open(url: str, workers: int) -> None:
    """Until every worker answers: each connection is one worker's, and several are tried."""
    query = {"space": "", "objects": [{"embedding": "AA=="}]}
    for _ in range(16 * workers):
        client = Client(url)
        while client.post(json.dumps(query).encode(), "application/json")[0] == 503:
            time.sleep(0.25)
        client.close()


class Client:
    """One device with one connection."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
        self._headers: dict[str, str] = {}
        status, device = self._send("/v1/devices", json.dumps({"device_id": device_id()}).encode(), "application/json")
        if status == 429:
            raise SystemExit("the server refuses more devices: set HANDLENS_ENROLMENTS_PER_HOUR higher")
        self._headers = {"Authorization": f"Bearer {device['token']}"}

    def post(self, body: bytes, kind: str) -> tuple[int, dict[str, Any]]:
        return self._send("/v1/search", body, kind)

    def close(self) -> None:
        self._connection.close()

    def _send(self, path: str, body: bytes, kind: str) -> tuple[int, dict[str, Any]]:
        self._connection.request("POST", path, body, {**self._headers, "Content-Type": kind})
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())


def device_id() -> str:
    return str(uuid.uuid4())


def json_query(vector: np.ndarray[Any, Any], label_scores: Any, space: str) -> tuple[bytes, str]:
    code = base64.b64encode(encode_codes(vector[None])[0].tobytes()).decode()
    one = {"embedding": code, "label_scores": label_scores, "box": [0.1, 0.1, 0.9, 0.9]}
    return json.dumps({"space": space, "request_id": "bench", "objects": [one]}).encode(), "application/json"


def photo_query(path: Path) -> tuple[bytes, str]:
    from support.searching import multipart

    return multipart(path.read_bytes(), {"request_id": "bench"})


def measure(url: str, queries: list[tuple[bytes, str]], clients: int, seconds: float) -> dict[str, Any]:
    """Requests a second and milliseconds of each, from so many clients at once."""
    taken: list[list[float]] = [[] for _ in range(clients)]
    failed: list[int] = []
    opened = [Client(url) for _ in range(clients)]
    until = time.perf_counter() + seconds

    def run(number: int) -> None:
        turn = number * 7
        while time.perf_counter() < until:
            begun = time.perf_counter()
            status, _ = opened[number].post(*queries[turn % len(queries)])
            taken[number].append((time.perf_counter() - begun) * 1000)
            if status != 200:
                failed.append(status)
            turn += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lasted = time.perf_counter() - begun
    for client in opened:
        client.close()
    samples = [one for row in taken for one in row]
    p50, p99 = np.percentile(samples, [50, 99])
    return {
        "requests": len(samples),
        "failed": len(failed),
        "a_second": round(len(samples) / lasted, 1),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
    }


def answers(url: str, queries: list[tuple[bytes, str]]) -> list[Any]:
    client = Client(url)
    found = [client.post(*query)[1]["objects"] for query in queries]
    client.close()
    return found


def visible(
    config: Config, url: str, queries: list[tuple[bytes, str]], changes: int
) -> tuple[list[float], list[float]]:
    """Seconds from the commit of a withdrawal until searches leave the item out, and from its return until they show
    it."""
    client, gone, back = Client(url), [], []
    for turn in range(changes):
        (item_id, *_) = shown(client, queries[turn])
        withdraw(config, item_id)
        gone.append(wait_for(client, queries[turn], item_id, is_there=False))
        restore(config, item_id)
        back.append(wait_for(client, queries[turn], item_id, is_there=True))
    client.close()
    return gone, back


def withdraw(config: Config, item_id: str) -> None:
    with open_database(config) as database, database.session() as session:
        withdraw_items(session, [item_id])


def restore(config: Config, item_id: str) -> None:
    with open_database(config) as database, database.session() as session:
        restore_items(session, [item_id])


def wait_for(client: Client, query: tuple[bytes, str], item_id: str, *, is_there: bool) -> float:
    begun = time.perf_counter()
    while (item_id in shown(client, query)) != is_there:
        time.sleep(0.01)
    return round(time.perf_counter() - begun, 3)


def shown(client: Client, query: tuple[bytes, str]) -> list[str]:
    (found,) = client.post(*query)[1]["objects"]
    return [match["item_id"] for section in found["sections"] for match in section["matches"]]


def scaling(measured: dict[str, Any]) -> dict[str, float]:
    """Throughput of the most workers beside that of the fewest, by query and clients."""
    by_workers = sorted(measured, key=lambda name: int(name.split()[0]))
    least, most = (
        {(row["query"], row["clients"]): row["a_second"] for row in measured[name]["runs"]}
        for name in (by_workers[0], by_workers[-1])
    )
    return {
        f"{query}, {clients} clients": round(most[query, clients] / rate, 2)
        for (query, clients), rate in least.items()
        if (query, clients) in most
    }


if __name__ == "__main__":
    os.environ.setdefault("HANDLENS_ENROLMENTS_PER_HOUR", "100000")
    main()
