"""The real server process: it answers, ends gently, survives its workers, and says in one line why it cannot start."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support.paths import ROOT

COMMAND = [sys.executable, "-c", "from handlens_server.cli import main; main()"]


class Server:
    """A running `handlens-server run`."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path) -> None:
        self.process, self.port, self._log = process, port, log

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def call(self, method: str, url: str, body: bytes | None = None, **headers: str) -> http.client.HTTPResponse:
        """Send a request; the answer is read, its bytes are in `content`."""
        with closing(self.connect()) as connection:
            connection.request(method, url, body, headers)
            answer = connection.getresponse()
            answer.content = answer.read()  # type: ignore[attr-defined]
            return answer

    def workers(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def counted(self, route: str) -> float:
        """How many requests the metrics know of, by whichever worker."""
        text = self.call("GET", "/metrics").content.decode()  # type: ignore[attr-defined]
        return sum(
            float(line.split()[-1])
            for line in text.splitlines()
            if f'requests_total{{method="GET",route="{route}"' in line
        )

    def logged(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._log.read_text("utf-8").splitlines()]


def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "tmp").mkdir(exist_ok=True)
    paths = f"{ROOT}/sdk:{ROOT}/server"
    return {
        **os.environ,
        "PYTHONPATH": paths,
        "TMPDIR": str(tmp_path / "tmp"),
        "HANDLENS_DATA_DIR": str(tmp_path / "data"),
    }


@contextmanager
def running(tmp_path: Path, *options: str, **variables: str) -> Iterator[Server]:
    log = tmp_path / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*COMMAND, "run", "--port", "0", *options],
            env=environment(tmp_path) | variables, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        told = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", process.stdout.readline())
        assert told, log.read_text()
        yield Server(process, int(told[1]), log)
    finally:
        process.terminate()
        process.communicate(timeout=40)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as found:
        yield found


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not happen in 20 s"
        time.sleep(0.05)


def test_a_fresh_folder_serves_at_once_and_ends_clean(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert server.call("GET", "/readyz").status == 200
        body = json.dumps({"device_id": str(uuid.uuid4())}).encode()
        assert server.call("POST", "/v1/devices", body).status == 201
        server.process.terminate()
        assert server.process.wait(timeout=20) == 0
    assert os.listdir(tmp_path / "tmp") == []
    requests = [line for line in server.logged() if line["event"] == "request"]
    assert [line["route"] for line in requests] == ["/readyz", "/v1/devices"]
    assert all(line["request_id"] and line["timestamp"] for line in requests)


def test_the_log_never_holds_who_called_whatever_they_send(tmp_path: Path) -> None:
    # One worker: each counts for itself.
    with running(tmp_path, "--workers", "1", HANDLENS_ENROLMENTS_PER_HOUR="1") as server:
        for _ in range(2):  # the second is over the limit, of which flask-limiter would tell
            server.call("POST", "/v1/devices", json.dumps({"device_id": str(uuid.uuid4())}).encode())
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nAuthorization Bearer SECRET\r\n\r\n")
            assert b" 400 " in connection.recv(1000)
    lines = server.logged()
    assert [line["status"] for line in lines if line["event"] == "request"] == [201, 429]
    assert [line["level"] for line in lines if line["event"] == "a request that is no HTTP was refused"] == ["warning"]
    about_callers = [line for line in lines if not str(line["event"]).startswith("Listening at")]
    assert not re.search(r"127\.0\.0\.1|SECRET", json.dumps(about_callers))


def test_a_running_request_ends_before_the_server_does(server: Server) -> None:
    body = json.dumps({"device_id": str(uuid.uuid4())}).encode()
    with closing(server.connect()) as connection:
        connection.putrequest("POST", "/v1/devices")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:10])
        time.sleep(0.5)  # it is in a worker's hands now
        server.process.terminate()
        time.sleep(0.5)
        assert server.process.poll() is None
        connection.send(body[10:])
        assert connection.getresponse().status == 201
    assert server.process.wait(timeout=20) == 0


def test_a_killed_worker_is_replaced_and_its_counts_stay(server: Server) -> None:
    wait_for(lambda: len(server.workers()) == 2)
    for _ in range(20):
        assert server.call("GET", "/healthz").status == 200
    before = server.workers()
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    wait_for(lambda: len(server.workers()) == 2 and not set(server.workers()) & set(before))
    for _ in range(5):
        assert server.call("GET", "/healthz").status == 200
    assert server.counted("/healthz") == 25


def test_a_worker_that_ends_leaves_the_counts_of_all(server: Server) -> None:
    wait_for(lambda: len(server.workers()) == 2)
    assert server.call("GET", "/healthz").status == 200
    before = server.workers()
    os.kill(before[0], signal.SIGTERM)
    wait_for(lambda: len(server.workers()) == 2 and before[0] not in server.workers())
    assert server.call("GET", "/healthz").status == 200
    assert server.counted("/healthz") == 2


def test_a_part_of_a_file_comes_over_the_wire(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "repository" / "targets"
    folder.mkdir(parents=True)
    data = bytes(range(256)) * 4000
    (folder / "abc.base-1.pack").write_bytes(data)
    whole = server.call("GET", "/v1/repository/targets/abc.base-1.pack")
    assert whole.content == data  # type: ignore[attr-defined]
    part = server.call("GET", "/v1/repository/targets/abc.base-1.pack", Range="bytes=900001-900010")
    assert (part.status, part.content) == (206, data[900001:900011])  # type: ignore[attr-defined]
    assert part.headers["Content-Length"] == "10"


def test_a_body_without_an_end_is_refused_when_it_is_too_long(server: Server) -> None:
    token = json.loads(
        server.call("POST", "/v1/devices", json.dumps({"device_id": str(uuid.uuid4())}).encode()).content  # type: ignore[attr-defined]
    )["token"]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n"
            b"Authorization: Bearer " + token.encode() + b"\r\n\r\n"
        )
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        try:
            # What the server may read (its limit, then a whole photo read away) and what the kernel holds on both sides
            # come to less than 30 MB, whatever the machine.
            for _ in range(2000):
                connection.sendall(chunk)
        except OSError:
            pass  # the server hung up while we were sending, as it should
        else:
            pytest.fail("the server read 130 MB")
    assert server.call("GET", "/healthz").status == 200


def test_an_address_in_use_is_one_line(server: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "run", "--port", str(server.port), "--data-dir", str(tmp_path / "other")],
        env=environment(tmp_path), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.fullmatch(r"Error: 127\.0\.0\.1 port \d+ cannot be listened on .*--port\n", done.stderr)


def test_a_database_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data" / "handlens.db").mkdir(parents=True)
    done = subprocess.run(
        [*COMMAND, "run"], env=environment(tmp_path), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert re.fullmatch(r"Error: .*handlens\.db cannot be used .*\n", done.stderr)


def test_a_setting_that_cannot_work_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "run"], env=environment(tmp_path) | {"HANDLENS_LIMITS_URL": "nonsense://host"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.fullmatch(r"Error: HANDLENS_LIMITS_URL cannot be used.*\n", done.stderr)


def test_the_command_line_answers_without_loading_the_server() -> None:
    probe = (
        "import sys; from click.testing import CliRunner; from handlens_server.cli import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "print([name for name in ('flask', 'sqlalchemy', 'alembic', 'gunicorn', 'tuf') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], env={"PYTHONPATH": f"{ROOT}/sdk:{ROOT}/server"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"
