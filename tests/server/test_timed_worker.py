"""gunicorn's worker tells how long a request waited for a thread, and its refusals reach clients that still send."""

from __future__ import annotations

import http.client
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from support.kills import start
from support.paths import ROOT


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    process: subprocess.Popen[str] = start([ROOT / "tests" / "support" / "timed_server.py"])
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate(timeout=30)


def waited(connection: http.client.HTTPConnection, path: str, body: bytes | None = None) -> float:
    """Milliseconds that a request waited for a thread, as its answer says."""
    connection.request("POST", path, body)
    answer = connection.getresponse()
    assert answer.status == 503
    return float(answer.read())


def connect(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=30)


def test_a_request_that_found_a_thread_did_not_wait(port: int) -> None:
    with closing(connect(port)) as connection:
        assert min(waited(connection, "/") for _ in range(20)) < 50


def test_a_request_that_came_while_all_threads_worked_waited_as_long(port: int) -> None:
    for is_kept_open in (False, True):
        with closing(connect(port)) as working, closing(connect(port)) as waiting:
            if is_kept_open:
                waited(waiting, "/")
            thread = threading.Thread(target=waited, args=(working, "/work"))
            thread.start()
            time.sleep(0.3)  # the only thread is asleep for as long again
            assert waited(waiting, "/") > 50
            thread.join()


def test_a_client_that_sent_nothing_for_long_did_not_wait_for_a_thread(port: int) -> None:
    with closing(connect(port)) as connection:
        connection.connect()
        time.sleep(2.0)
        assert waited(connection, "/") < 1500


@pytest.mark.parametrize("size", [0, 200_000, 4_000_000])
def test_a_refusal_reaches_a_client_that_still_sends_and_the_connection_goes_on(port: int, size: int) -> None:
    with closing(connect(port)) as connection:
        waited(connection, "/", b"x" * size)
        first = connection.sock
        waited(connection, "/", b"x" * size)
        assert connection.sock is first
