"""Where the repository's own data lies."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
CATALOG = ROOT / "demo" / "catalog"
QUERIES = ROOT / "demo" / "queries"
# Photographs for measuring that may not be part of the project; tests that use them skip where they are absent.
EVALUATION = Path(os.environ.get("HANDLENS_EVALUATION_DATA", ROOT.parent / "shared" / "data"))
