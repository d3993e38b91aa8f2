"""Files of a model folder, written so that a reader sees the old or the new one, never a part."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["write_json", "write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its target and move it into place."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON, one field a line."""
    write_whole(path, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())
