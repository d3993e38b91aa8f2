"""Run by a Python of its own choosing: search photos on a device with one runtime and print the answers as JSON.

python search_queries.py DATA_DIR RUNTIME PHOTO...
"""

from __future__ import annotations

import json
import sys

from handlens import Lens, Options


def main(data_dir: str, runtime: str, *photos: str) -> None:
    with Lens(Options(data_dir=data_dir, runtime=runtime)) as lens:
        answers = {photo: lens.search(photo, request_id="parity").to_dict() for photo in photos}
        print(json.dumps({"runtime": lens.status().runtime, "answers": answers}))


if __name__ == "__main__":
    main(*sys.argv[1:])
