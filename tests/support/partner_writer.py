"""One write with an Idempotency-Key, in a process of its own that a test may kill.

partner_writer.py DATA_DIR DATABASE_URL KEY      prints ``written`` or ``replayed``, and the answer
"""

from __future__ import annotations

import sys
from pathlib import Path

from sqlalchemy.orm import Session


def main(data_dir: str, database_url: str, key: str) -> None:
    from handlens_server.config import Config
    from handlens_server.database import Database
    from handlens_server.partner.idempotency import Writes
    from handlens_server.times import utc_now

    with Database(Config(data_dir=Path(data_dir), database_url=database_url)) as database:
        kept, is_replayed = Writes(database, utc_now, claim_seconds=1).once("acme", key, "f" * 64, count_up)
        print("replayed" if is_replayed else "written", kept.body.decode())


def count_up(session: Session):  # type: ignore[no-untyped-def]
    from handlens_server.database import next_sequence
    from handlens_server.partner.idempotency import Kept

    return Kept(201, str(next_sequence(session, "catalogue")).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
