"""Runs a Milvus server until its standard input ends. Needs the package `milvus`; run it by HANDLENS_MILVUS_PYTHON.

milvus_server.py FOLDER PORT      prints ``port N pid M`` when it answers; port 0 takes a free one
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from milvus import MilvusServer, MilvusServerConfig


class Config(MilvusServerConfig):
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


def main(folder: str, port: str) -> None:
    # The program is unpacked (450 MB) once for the environment, not once for each folder.
    programs = Path(sys.prefix) / "milvus-bin"
    programs.mkdir(exist_ok=True)
    if not (Path(folder) / "bin").exists():
        (Path(folder) / "bin").symlink_to(programs)
    wanted = {"proxy_port": int(port)} if port != "0" else {}
    server = MilvusServer(Config(), data_dir=folder, **wanted)
    server.config.set("common.session.ttl", 2)  # seconds until a killed server's parts are taken for dead, not 30
    server.start()
    print(f"port {server.listen_port} pid {server.server_proc.pid}", flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
