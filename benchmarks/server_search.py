"""``POST /v1/search`` of a real server (gunicorn) over a synthetic catalogue: throughput and p99 by clients, workers.

    python benchmarks/server_search.py --data-dir out/server_search --out out/server_search.json

The catalogue is made once in `--data-dir` (with a database, a release of the shipped models, and `--items` items) and
used again by later runs. Clients are threads of this process with one connection each: on a machine of two cores they
and the server share the cores, so the figures are what both together can do. Embedding queries are drawn from the
catalogue's own distribution; photo queries are the demo's query photos. Then: how long it takes until a change of the
catalogue is seen by searches, and whether a restarted server gives the same answers.
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
from contextlib import contextmanager
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
_BATCH = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clients", type=int, nargs="+", default=list(CLIENTS))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--changes", type=int, default=10, help="changes of the catalogue that are waited for")
    parser.add_argument("--index", default="", help="HANDLENS_INDEX of the server, such as milvus://localhost:19530")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--prepare", action="store_true", help="make the catalogue and stop")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    spec = json.loads((MODELS / "embedder" / "model.json").read_text("utf-8"))["embedding"]
    taxonomy = Taxonomy.from_json((MODELS / "taxonomy.json").read_text("utf-8"))
    synthetic = Synthetic(arguments.items, spec["dim"], tuple(taxonomy.classifier), dict(taxonomy.classifier))
    config = prepare(arguments.data_dir, synthetic, spec["space"])
    if arguments.prepare:
        return
    embeddings = [json_query(*one, spec["space"]) for one in synthetic.queries(400)]
    photos = [photo_query(path) for path in sorted((REPOSITORY / "demo" / "queries" / "images").iterdir())]
    figures: dict[str, Any] = {"machine": machine(), "items": arguments.items, "index": arguments.index, "runs": []}
    for workers in arguments.workers:
        with serving(config, workers, arguments.index) as (url, opened_in):
            for kind, queries in (("embedding", embeddings), ("photo", photos)):
                for clients in arguments.clients:
                    row = {"workers": workers, "query": kind, "clients": clients}
                    row |= measure(url, queries, clients, arguments.seconds)
                    print(row)
                    figures["runs"].append(row)
            figures[f"seconds_to_open_with_{workers}_workers"] = opened_in
            before = answers(url, embeddings[:50])
            figures["seconds_until_visible"] = visible(config, url, embeddings, arguments.changes)
    with serving(config, arguments.workers[-1], arguments.index) as (url, opened_in):
        figures["seconds_to_open_again"] = opened_in
        lost = sum(one != other for one, other in zip(before, answers(url, embeddings[:50]), strict=True))
    figures["targets"] = [
        target("seconds until a change is seen, the longest", max(figures["seconds_until_visible"]), VISIBLE_WITHIN),
        target("answers of 50 that a restart changed", lost, 0),
    ]
    figures["scaling"] = scaling(figures["runs"])
    write_json(arguments.out, figures)
    raise SystemExit(0 if all(one["met"] for one in figures["targets"]) else 1)


def prepare(folder: Path, synthetic: Synthetic, space: str) -> Config:
    """A backend with the catalogue and a release."""
    config = Config(data_dir=folder / "server")
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
def serving(config: Config, workers: int, index: str) -> Iterator[tuple[str, float]]:
    """The address of a server that answers searches, and how many seconds it took to."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(REPOSITORY / part) for part in ("sdk", "server"))}
    if index:
        environment["HANDLENS_INDEX"] = index
    command = [
        sys.executable, "-c", "from handlens_server.cli import main; main()", "run", "--data-dir", str(config.data_dir),
        "--port", "0", "--workers", str(workers),
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as run:
        try:
            assert run.stdout is not None
            url = run.stdout.readline().split()[-1]
            threading.Thread(target=run.stdout.read, daemon=True).start()
            begun = time.perf_counter()
            wait_until_open(url, workers)
            yield url, round(time.perf_counter() - begun, 1)
        finally:
            run.send_signal(signal.SIGTERM)
            run.wait(60)


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


def visible(config: Config, url: str, queries: list[tuple[bytes, str]], changes: int) -> list[float]:
    """Seconds from the commit of a withdrawal until a search leaves the item out; then it is restored."""
    client, seconds = Client(url), []
    with open_database(config) as database:
        for turn in range(changes):
            query = queries[turn]
            (item_id, *_) = shown(client, query)
            with database.session() as session:
                withdraw_items(session, [item_id])
            begun = time.perf_counter()
            while item_id in shown(client, query):
                time.sleep(0.01)
            seconds.append(round(time.perf_counter() - begun, 3))
            with database.session() as session:
                restore_items(session, [item_id])
            while item_id not in shown(client, query):
                time.sleep(0.01)
    client.close()
    return seconds


def shown(client: Client, query: tuple[bytes, str]) -> list[str]:
    (found,) = client.post(*query)[1]["objects"]
    return [match["item_id"] for section in found["sections"] for match in section["matches"]]


def scaling(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Throughput of the most workers beside that of the fewest, by query and clients."""
    rates = {(row["workers"], row["query"], row["clients"]): row["a_second"] for row in runs}
    least, most = min(row["workers"] for row in runs), max(row["workers"] for row in runs)
    return {
        f"{query}, {clients} clients": round(rates[most, query, clients] / rates[least, query, clients], 2)
        for workers, query, clients in rates
        if workers == least
    }


if __name__ == "__main__":
    os.environ.setdefault("HANDLENS_ENROLMENTS_PER_HOUR", "100000")
    main()
