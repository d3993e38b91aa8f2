"""Is an item that came with the last sync found? Ends with 1 where it is not."""

from __future__ import annotations

import argparse
import sys

from handlens import Lens, Options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", required=True)
    parser.add_argument("--photo", required=True)
    parser.add_argument("--item", required=True)
    arguments = parser.parse_args()
    with Lens(Options(data_dir=arguments.device, index="hnsw")) as lens:
        result = lens.search(arguments.photo, limit=24)
    matches = [match for found in result.objects for section in found.sections for match in section.matches]
    for match in matches:
        if match.item.item_id == arguments.item:
            print(f"found in release {result.release}: {match.title} ({match.item.item_id}), {match.why.reason}")
            return
    sys.exit(f"{arguments.item} is not among the {len(matches)} matches for {arguments.photo}")


if __name__ == "__main__":
    main()
