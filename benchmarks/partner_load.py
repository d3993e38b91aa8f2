"""The partner endpoint under load: what it bears, and what it does beyond that.

    python benchmarks/partner_load.py --data-dir out/partner_load --out out/partner_load.json
    python benchmarks/partner_load.py --data-dir out/partner_load --steady-seconds 600 --out out/partner_load.json

A real server (gunicorn, two workers) over a synthetic catalogue answers photos (the demo's query photos); the load
comes over loopback from this process, which takes a part of the same processors. In this order:

capacity    what is answered where more is asked than can be done: the rate is raised until a part is refused
steady      70 % of that, at a rate that does not wait for answers: no error, p99 within 3x p50, no memory that grows
overload    3x that, with `deadline_ms`: only 200, 429 and 503 with Retry-After; who is accepted is answered in time
recovery    70 % again at once: seconds until nothing is refused and it is as fast as before
deadline    the capacity itself with ``deadline_ms=150``: 99 % of the accepted in time, and what is left out is named
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sdk"))

from measure import REPOSITORY, concluded, machine, target
from open_load import Answer, Query, Sender, closed_loop, open_loop, summary
from server_search import MODELS, prepare
from support.postgres import private_postgres
from support.searching import multipart
from synthetic import Synthetic

from handlens.wire.taxonomy import Taxonomy
from handlens_server.config import Config
from handlens_server.database import open_database
from handlens_server.partner.partners import (
    PartnerSetupError,
    add_partner,
    find_partner,
    list_keys,
    new_secret_key,
    revoke_key,
)

PARTNER = "load"
SATURATED = 0.9  # a load of which less is answered is more than the capacity
SHARE, OVER = 0.7, 3.0
SPREAD = 3.0  # p99 over p50
GROWTH = 1.05  # of memory, the last quarter over the second
RECOVERY = 5.0  # seconds
DEADLINE, KEPT = 150, 0.99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--warm-seconds", type=float, default=15.0)
    parser.add_argument("--capacity-seconds", type=float, default=15.0)
    parser.add_argument("--steady-seconds", type=float, default=60.0)
    parser.add_argument("--overload-seconds", type=float, default=20.0)
    parser.add_argument("--overload-deadline", type=int, default=1000, help="deadline_ms of the overload")
    parser.add_argument("--deadline-seconds", type=float, default=20.0)
    parser.add_argument("--photos", type=int, default=0, help="of the demo's query photos; 0: all")
    parser.add_argument("--postgres", action="store_true", help="a private PostgreSQL in place of SQLite")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with new_database(arguments) as url:
        figures = measured(arguments, url)
    raise SystemExit(concluded(arguments.out, figures))


@contextmanager
def new_database(arguments: argparse.Namespace) -> Iterator[str]:
    """The address of a new PostgreSQL; empty: SQLite in the data folder."""
    if not arguments.postgres:
        yield ""
        return
    with private_postgres() as postgres:
        shutil.rmtree(arguments.data_dir, ignore_errors=True)  # what is there belongs to another database
        yield postgres.url(postgres.create())


def measured(arguments: argparse.Namespace, database_url: str) -> dict[str, Any]:
    config, token_of = prepared(arguments, database_url)
    paths = sorted((REPOSITORY / "demo" / "queries" / "images").iterdir())[: arguments.photos or None]
    figures: dict[str, Any] = {
        "machine": machine(),
        "database": "PostgreSQL" if database_url else "SQLite",
        "workers": arguments.workers,
        "photos": len(paths),
    }
    with serving(config, arguments.workers, database_url) as server:
        token = token_of(server.url)
        plain, soon, short = (
            [lens(path, deadline) for path in paths] for deadline in (None, arguments.overload_deadline, DEADLINE)
        )
        # Both workers have opened models and indexes after this.
        open_loop(lambda: Sender(server.url, token), plain, rate=10, seconds=arguments.warm_seconds)
        run_all(arguments, server, token, plain, soon, short, figures)
    return figures


def run_all(
    arguments: argparse.Namespace,
    server: Server,
    token: str,
    plain: Sequence[Query],
    soon: Sequence[Query],
    short: Sequence[Query],
    figures: dict[str, Any],
) -> None:
    def make() -> Sender:
        return Sender(server.url, token, reads_answers=True)

    capacity_s, steady_s = arguments.capacity_seconds, arguments.steady_seconds
    answers = closed_loop(make, plain, clients=2 * arguments.workers, seconds=capacity_s / 2)
    told(figures, "waiting_clients", summary(answers, capacity_s / 2))
    told(figures, "capacity", saturated(make, plain, figures["waiting_clients"]["answered_a_second"], capacity_s))
    capacity = figures["capacity"]["answered_a_second"]

    memory = Memory(server.pid)
    answers = open_loop(make, plain, rate=SHARE * capacity, seconds=steady_s)
    steady = summary(answers, steady_s) | memory.end()
    told(figures, "steady", steady)

    over = open_loop(make, soon, rate=OVER * capacity, seconds=arguments.overload_seconds, senders=96)
    within = [one.took_ms <= arguments.overload_deadline for one in over if one.status == 200]
    told(figures, "overload", summary(over, arguments.overload_seconds) | {"accepted_in_time": share(within)})

    after = open_loop(make, plain, rate=SHARE * capacity, seconds=2 * RECOVERY)
    recovered = recovered_after(after, steady["p99_ms"])
    told(figures, "recovery", summary(after, 2 * RECOVERY) | {"seconds": recovered})

    late = open_loop(make, short, rate=capacity, seconds=arguments.deadline_seconds)
    accepted = [one for one in late if one.status == 200]
    degraded = [one for one in accepted if one.is_degraded]
    told(
        figures,
        "deadline",
        summary(late, arguments.deadline_seconds)
        | {
            "deadline_ms": DEADLINE,
            "accepted_in_time": share([one.took_ms <= DEADLINE for one in accepted]),
            "degraded": len(degraded),
            "degraded_that_do_not_say_what_is_missing": sum(one.left_out == 0 for one in degraded),
        },
    )
    figures["targets"] = targets(figures)


def saturated(make: Callable[[], Sender], queries: Sequence[Query], rate: float, seconds: float) -> dict[str, Any]:
    """The first load, each half as much again as the one before, of which less than `SATURATED` is answered."""
    while True:
        rate *= 1.5
        found = summary(open_loop(make, queries, rate=rate, seconds=seconds), seconds)
        if found["answered_a_second"] < SATURATED * found["offered_a_second"]:
            return found


def targets(figures: dict[str, Any]) -> list[dict[str, Any]]:
    steady, over, late = figures["steady"], figures["overload"], figures["deadline"]
    return [
        target("errors at 70 % of the capacity", errors(steady, good=("200",)), 0),
        target("p99 over p50 at 70 % of the capacity", round(steady["p99_ms"] / steady["p50_ms"], 2), SPREAD),
        target("memory of the last quarter over that of the second", steady["memory_growth"], GROWTH),
        target("answers at 3x the capacity other than 200, 429, 503", errors(over, good=("200", "429", "503")), 0),
        target("refusals without Retry-After at 3x the capacity", over["refused_without_retry_after"], 0),
        target("share of accepted past their deadline at 3x", round(1 - over["accepted_in_time"], 4), 1 - KEPT),
        target("seconds until it recovered", figures["recovery"]["seconds"], RECOVERY),
        target("share of accepted past deadline_ms=150", round(1 - late["accepted_in_time"], 4), 1 - KEPT),
        target("degraded answers that say nothing", late["degraded_that_do_not_say_what_is_missing"], 0),
        target("errors with deadline_ms=150", errors(late, good=("200", "422", "429", "503")), 0),
    ]


def errors(row: dict[str, Any], *, good: Sequence[str]) -> int:
    return sum(count for status, count in row["by_status"].items() if status not in good)


def share(within: Sequence[bool]) -> float:
    return round(sum(within) / len(within), 4) if within else 0.0


def told(figures: dict[str, Any], name: str, row: dict[str, Any]) -> None:
    figures[name] = row
    print(name, json.dumps(row), flush=True)


def recovered_after(answers: Sequence[Answer], usual_p99: float) -> float:
    """Seconds until the first whole second from which on nothing is refused and the median is below the usual p99."""
    last = 0.0
    for second in range(int(answers[-1].at) + 1):
        within = [one for one in answers if second <= one.at < second + 1]
        good = [one.took_ms for one in within if one.status == 200]
        if len(good) < len(within) or (good and float(np.median(good)) > usual_p99):
            last = second + 1.0
    return last


class Server:
    """A running server."""

    def __init__(self, url: str, pid: int) -> None:
        self.url, self.pid = url, pid


class Memory:
    """Watches the memory of a server's workers: the sum of their proportional set sizes, in MB."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._samples: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> dict[str, Any]:
        self._ended.set()
        self._thread.join()
        quarter = max(1, len(self._samples) // 4)
        second, last = self._samples[quarter : 2 * quarter] or self._samples, self._samples[-quarter:]
        first_mb, last_mb = float(np.median(second)), float(np.median(last))
        return {"memory_mb": round(last_mb, 1), "memory_growth": round(last_mb / first_mb, 3)}

    def _run(self) -> None:
        while not self._ended.wait(1.0):
            children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
            self._samples.append(sum(_pss(child) for child in children))


def _pss(pid: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def prepared(arguments: argparse.Namespace, database_url: str) -> tuple[Config, Any]:
    """A backend with a catalogue and a partner without limits, and what gets a token for it."""
    spec = json.loads((MODELS / "embedder" / "model.json").read_text("utf-8"))["embedding"]
    taxonomy = Taxonomy.from_json((MODELS / "taxonomy.json").read_text("utf-8"))
    synthetic = Synthetic(arguments.items, spec["dim"], tuple(taxonomy.classifier), dict(taxonomy.classifier))
    config = prepare(arguments.data_dir, synthetic, spec["space"], database_url)
    limits = {"requests_per_minute": 10_000_000, "concurrent": 100_000}
    profile = {"format": 1, "name": "Load", "limits": limits, "quotas": {"requests_per_day": 10_000_000_000}}
    now = datetime.now(timezone.utc)
    with open_database(config, create=True) as database, database.session() as session:
        session.execute(text("ANALYZE"))  # PostgreSQL would do so itself, within a minute of a large import
        try:
            find_partner(session, PARTNER)
        except PartnerSetupError:
            add_partner(session, PARTNER, json.dumps(profile), now)
        for key in list_keys(session, PARTNER):
            revoke_key(session, key["key_id"], now)
        made = new_secret_key(session, PARTNER, "live", ["lens"], now)

    def token_of(url: str) -> str:
        address = urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        form = {"grant_type": "client_credentials", "client_id": made.key_id, "client_secret": made.secret}
        connection.request(
            "POST", "/partner/v1/oauth/token", urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"}
        )
        token = str(json.loads(connection.getresponse().read())["access_token"])
        connection.close()
        return token

    return config, token_of


@contextmanager
def serving(config: Config, workers: int, database_url: str) -> Iterator[Server]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(REPOSITORY / part) for part in ("sdk", "server")),
        "HANDLENS_DATABASE_URL": database_url,
    }
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
            yield Server(url, run.pid)
        finally:
            run.send_signal(signal.SIGTERM)
            run.wait(60)


def lens(path: Path, deadline_ms: int | None) -> Query:
    """A form with a photo."""
    body, kind = multipart(path.read_bytes(), {} if deadline_ms is None else {"deadline_ms": deadline_ms})
    return body.replace(b'name="query"', b'name="request"'), kind


if __name__ == "__main__":
    main()
