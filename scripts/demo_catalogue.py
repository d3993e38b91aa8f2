"""A copy of the demo catalogue without 1 % of its items, for scripts/demo to add later: demo_catalogue.py FROM TO."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

EVERY = 93  # of 741 items: every 93rd is held back, and the hammer that the demo searches for
ALSO = "photo-hammer-3"


def main(source: Path, target: Path) -> None:
    lines = (source / "items.jsonl").read_text("utf-8").splitlines()
    ids = [json.loads(line)["item_id"] for line in lines]
    held_back = {item_id for at, item_id in enumerate(ids, start=1) if at % EVERY == 0} | {ALSO}
    shutil.copytree(source, target)
    kept = [line for line, item_id in zip(lines, ids, strict=True) if item_id not in held_back]
    (target / "items.jsonl").write_text("\n".join(kept) + "\n", "utf-8")
    print(f"{len(kept)} items; held back for later: {', '.join(sorted(held_back))}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
