"""Runs a Milvus server until its standard input ends. Needs the package `milvus`; run it by HANDLENS_MILVUS_PYTHON.

milvus_server.py FOLDER PORT      prints ``port N pid M`` when it answers; port 0 takes a free one
"""

from __future__ import annotations

import os
import socket
import sys
import time
import urllib.request
from pathlib import Path

from milvus import MilvusServer, MilvusServerConfig

START_SECONDS = 60
TRIES = 3  # another process may take one of its ports, or the machine be too busy


ETCD = """
name: default
listen-client-urls: http://127.0.0.1:{client}
advertise-client-urls: http://127.0.0.1:{client}
listen-peer-urls: http://127.0.0.1:{peer}
initial-advertise-peer-urls: http://127.0.0.1:{peer}
initial-cluster: default=http://127.0.0.1:{peer}
"""  # the package leaves its embedded etcd at 2379 and 2380: two servers on a machine would meet there


class Config(MilvusServerConfig):
    def write_config(self):
        super().write_config()
        path = Path(self.base_data_dir) / "configs" / "etcd.yaml"
        path.write_text(ETCD.format(client=self.get("etcd_port"), peer=free_port()))
        os.environ["ETCD_CONFIG_PATH"] = str(path)  # Milvus takes any setting from the environment

    def try_bind_port(self, port):
        """As the package does, and as Milvus itself: a port whose last connections are not forgotten yet may be had."""
        candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
            candidate.listen()
        except OSError:
            candidate.close()
            return None
        return candidate


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def main(folder: str, port: str) -> None:
    # The program is unpacked (450 MB) once for the environment, not once for each folder.
    programs = Path(sys.prefix) / "milvus-bin"
    programs.mkdir(exist_ok=True)
    if not (Path(folder) / "bin").exists():
        (Path(folder) / "bin").symlink_to(programs)
    wanted = {"proxy_port": int(port)} if port != "0" else {}
    server = MilvusServer(Config(), wait_for_started=False, data_dir=folder, **wanted)
    # Seconds until a killed server's parts are taken for dead; 30 are the default, with 10 a busy machine lost them.
    server.config.set("common.session.ttl", 20)
    for _ in range(TRIES):
        server.start()
        if is_ready(server):
            print(f"port {server.listen_port} pid {server.server_proc.pid}", flush=True)
            sys.stdin.read()
            server.stop()
            return
        server.stop()
        for log in (Path(folder) / "logs").glob("milvus-*.log"):
            print(log.name, log.read_text()[-2000:], file=sys.stderr)
    raise SystemExit(f"Milvus did not start in {TRIES} tries")


def is_ready(server):
    """Whether it becomes healthy; the package itself does not see that its process has ended."""
    health = f"http://127.0.0.1:{server.webservice_port}/healthz"
    until = time.monotonic() + START_SECONDS
    while server.server_proc.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(health, timeout=5) as answer:
                if b"OK" in answer.read():
                    return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


if __name__ == "__main__":
    main(*sys.argv[1:])
