"""What the same change costs where whole files are synced: the bytes a device would download.

- *hnswlib*: the index saved before and after the change; the file itself, its bsdiff4 and its xdelta3 patch. The index
  holds vectors alone: titles, links and annotations would come on top.
- *Qdrant Edge*: `qdrant_peer.py`.

Patches are from the file before to one that was *changed in place* (the nodes of changed vectors marked as deleted, new
vectors added under new labels, as hnswlib's documentation has it) and to one that was *built anew* from the vectors
that there are. Only the first is small, and only for a device that holds exactly the file that the server changed.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlens.wire.pack import PackUpsert, decode_codes, parse_change

__all__ = ["Points", "measure_index_files", "measure_qdrant"]

_DIM = 128
_EF = 200
_M = 16
_XDELTA_WINDOW = 524_288  # bytes; xdelta3 takes no smaller one

Lines = Mapping[str, bytes]


class Points:
    """The vectors of two states of a pack, each under a label that stays while it stays; new ones get new labels."""

    def __init__(self, before: Lines, after: Lines) -> None:
        old, new = _parts(before), _parts(after)
        labels = {part: label for label, part in enumerate(old)}
        for part in new:
            labels.setdefault(part, len(labels))
        self.before = {labels[part]: old[part] for part in old}
        self.gone = [labels[part] for part in old if part not in new]
        self.added = {labels[part]: new[part] for part in new if part not in old}
        renewed = {item_id for item_id in after if before.get(item_id) != after[item_id]}
        self.payloads = {labels[part]: _payload(after, part) for part in new if part[0] in renewed}
        self.first_payloads = {labels[part]: _payload(before, part) for part in old}
        self.touched = {labels[part]: new[part] for part in new if part[0] in renewed}


def measure_index_files(points: Points) -> dict[str, int]:
    """Bytes of the saved hnswlib index after the change, and of patches from the file before."""
    after = {label: vector for label, vector in points.before.items() if label not in set(points.gone)} | points.added
    with tempfile.TemporaryDirectory() as scratch:
        before, changed, rebuilt = (Path(scratch) / name for name in ("before", "changed", "rebuilt"))
        graph = _built(points.before, room=len(points.added))
        graph.save_index(str(before))
        for label in points.gone:
            graph.mark_deleted(label)
        graph.add_items(_matrix(points.added), list(points.added), num_threads=1)
        graph.save_index(str(changed))
        _built(after, room=0).save_index(str(rebuilt))
        sizes = {"hnswlib file": changed.stat().st_size}
        sizes["hnswlib file, gzip"] = len(gzip.compress(changed.read_bytes(), 6))
        for name, path in (("changed in place", changed), ("built anew", rebuilt)):
            sizes |= _bsdiff(name, before, path) | _xdelta(name, before, path)
        return sizes


def _built(vectors: Mapping[int, NDArray[np.float32]], *, room: int) -> Any:
    import hnswlib

    graph = hnswlib.Index(space="ip", dim=_DIM)
    graph.init_index(len(vectors) + room, ef_construction=_EF, M=_M, random_seed=1)
    graph.add_items(_matrix(vectors), list(vectors), num_threads=1)
    return graph


def measure_qdrant(python: Path | None, points: Points) -> dict[str, Any] | None:
    """What `qdrant_peer.py` says, run by `python`; None where none is given."""
    if python is None:
        print("Qdrant Edge is left out: give --qdrant-python to compare with it")
        return None
    with tempfile.TemporaryDirectory() as scratch:
        job = Path(scratch) / "job.json"
        job.write_text(
            json.dumps(
                {
                    "before": _listed(points.before, points.first_payloads),
                    "deleted": points.gone,
                    "upserted": _listed(points.touched, points.payloads),
                }
            ),
            "utf-8",
        )
        script = Path(__file__).with_name("qdrant_peer.py")
        done = subprocess.run([str(python), str(script), str(job)], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit("the process of Qdrant Edge failed; its message is above")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _bsdiff(name: str, before: Path, after: Path) -> dict[str, int]:
    try:
        import bsdiff4
    except ImportError:
        print("bsdiff4 is left out: pip install bsdiff4")
        return {}
    return {f"hnswlib {name}, bsdiff4": len(bsdiff4.diff(before.read_bytes(), after.read_bytes()))}


def _xdelta(name: str, before: Path, after: Path) -> dict[str, int]:
    if shutil.which("xdelta3") is None:
        print("xdelta3 is left out: apt-get install xdelta3")
        return {}
    patch = after.with_name("patch")
    window = str(max(before.stat().st_size, _XDELTA_WINDOW))  # the whole old file may be copied from
    subprocess.run(
        ["xdelta3", "-e", "-f", "-9", "-S", "lzma", "-B", window, "-s", str(before), str(after), str(patch)], check=True
    )
    return {f"hnswlib {name}, xdelta3": patch.stat().st_size}


def _parts(lines: Lines) -> dict[tuple[str, int, bytes], NDArray[np.float32]]:
    """The vectors of a state, by item, place and code."""
    keys: list[tuple[str, int, bytes]] = []
    for item_id, line in lines.items():
        change = parse_change(line, dim=_DIM)
        assert isinstance(change, PackUpsert)
        keys += [(item_id, place, part.code) for place, part in enumerate(change.row.embeddings)]
    codes = np.frombuffer(b"".join(code for _, _, code in keys), np.int8).reshape(-1, _DIM)
    return dict(zip(keys, decode_codes(codes), strict=True))


def _payload(lines: Lines, part: tuple[str, int, bytes]) -> dict[str, Any]:
    """What a point carries: the item with the first of its vectors, its id with the others."""
    item_id, place, _ = part
    return json.loads(lines[item_id])["item"] if place == 0 else {"item_id": item_id}


def _listed(vectors: Mapping[int, NDArray[np.float32]], payloads: Mapping[int, dict[str, Any]]) -> list[Any]:
    return [[label, vector.tolist(), payloads[label]] for label, vector in vectors.items()]


def _matrix(vectors: Mapping[int, NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.stack(list(vectors.values())) if vectors else np.empty((0, _DIM), np.float32)
