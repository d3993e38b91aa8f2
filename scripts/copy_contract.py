"""Copy the partner contract (YAML, the source) to where the conformance kit reads it (JSON).

``--check`` writes nothing and exits with 1 where the copy is not that of the source.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from handlens_server.partner.contract_file import CONTRACT_PATH, read_contract

COPY = Path(__file__).parents[1] / "sdk" / "handlens" / "partner" / "contract-v1.json"


def main() -> int:
    """Copy, or compare."""
    text = json.dumps(read_contract(CONTRACT_PATH).document, ensure_ascii=False, indent=1) + "\n"
    if "--check" in sys.argv[1:]:
        is_same = COPY.is_file() and COPY.read_text("utf-8") == text
        print("the kit has the contract" if is_same else f"{COPY.name} is old: run python scripts/copy_contract.py")
        return 0 if is_same else 1
    COPY.write_text(text, "utf-8")
    print(f"{COPY.name} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
