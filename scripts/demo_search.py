"""The device's half of scripts/demo: search every query photo with the network cut, and show what comes back."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from handlens import Lens, Options, SearchResult
from handlens.cli import describe
from handlens.render import render, save_picture

TOLD_IN_FULL = 5  # queries whose whole answer is printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", required=True)
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    sys.addaudithook(refuse_sockets)
    queries = [json.loads(line) for line in (arguments.queries / "queries.jsonl").read_text("utf-8").splitlines()]
    with Lens(Options(data_dir=arguments.device)) as lens:
        right = [search_one(lens, arguments, query, at) for at, query in enumerate(queries)]
    print(f"\n{sum(right)} of {len(right)} photos have the right object type first; pictures are in {arguments.out}")


def refuse_sockets(event: str, _: tuple[Any, ...]) -> None:
    """The network is cut for this process: any use of a socket ends it."""
    if event.startswith("socket."):
        raise RuntimeError(f"a search touched the network: {event}")


def search_one(lens: Lens, arguments: argparse.Namespace, query: dict[str, Any], at: int) -> bool:
    photo = arguments.queries / query["image"]
    result = lens.search(photo)
    picture = arguments.out / f"{photo.stem}.jpg"
    save_picture(render(photo, result, lens.thumbnail), picture)
    is_right = result.objects[0].type == query["expect_type"]
    print(
        "\n".join(describe(result)) if at < TOLD_IN_FULL else brief(result), end="\n\n" if at < TOLD_IN_FULL else "\n"
    )
    print(f"   {'right' if is_right else 'WRONG'}: {photo.name} is {query['expect_type']} -> {picture.name}")
    return is_right


def brief(result: SearchResult) -> str:
    first = result.objects[0]
    sections = ", ".join(f"{section.title} ({len(section.matches)})" for section in first.sections)
    return f"{first.type}: {', '.join(note.tag for note in first.annotations[:3])} | {sections}"


if __name__ == "__main__":
    main()
