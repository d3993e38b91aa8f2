"""What a user does with an answer: saves a match, draws a box and names it. Nothing is sent; it waits on the device."""

from __future__ import annotations

import argparse
import sys

from demo_search import refuse_sockets

from handlens import Box, Lens, Options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", required=True)
    parser.add_argument("--photo", required=True)
    arguments = parser.parse_args()
    sys.addaudithook(refuse_sockets)
    with Lens(Options(data_dir=arguments.device, index="hnsw", consent="events")) as lens:
        result = lens.search(arguments.photo)
        match = result.objects[0].sections[0].matches[0]
        lens.feedback(result, saved=match)
        lens.feedback(result, box=Box(0.1, 0.1, 0.9, 0.9), label="pliers")
        print(f"saved {match.title!r} and drew a box called 'pliers'; {lens.outbox.count()} events wait:")
        print("\n".join(f"  {line}" for line in lens.outbox.lines()))


if __name__ == "__main__":
    main()
