"""What a change costs with Qdrant Edge: the bytes of a full and of a partial snapshot of a shard.

A child process of `sync.py`, in an environment of its own (``pip install qdrant-edge-py``):

    python benchmarks/sync.py --qdrant-python PATH/TO/THAT/ENVIRONMENT/bin/python

A snapshot is made by Qdrant's server, for which Python has no package; Edge has the receiving half and the manifest
that a device asks with (`EdgeShard.snapshot_manifest`). Here a shard plays the server's: the points go in, its
optimizer builds the HNSW segment, the manifest is taken, the change goes in, it is flushed. The partial snapshot is
then what the server's rule gives for that manifest (qdrant `lib/segment/src/segment/snapshot.rs`, `updated_files`):
every file that the manifest has not, or whose version (its own, else its segment's) is newer, and each segment's state.

Its files are allocated ahead, mostly zeros, and a snapshot is an uncompressed tar of them: both sizes are told, as they
are and after gzip, which a proxy might add.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

_BATCH = 500
_ALWAYS = ("segment.json", "version.info")


def main() -> None:
    from qdrant_edge import (
        Distance,
        EdgeConfig,
        EdgeOptimizersConfig,
        EdgeShard,
        EdgeVectorParams,
        HnswIndexConfig,
        UpdateOperation,
    )

    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    config = EdgeConfig(
        vectors=EdgeVectorParams(size=len(job["before"][0][1]), distance=Distance.Cosine),
        hnsw_config=HnswIndexConfig(m=16, ef_construct=200, full_scan_threshold=1000),
        optimizers=EdgeOptimizersConfig(indexing_threshold=1000),
    )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch)
        shard = EdgeShard.create(scratch, config)
        _upsert(shard, job["before"])
        shard.optimize()
        shard.flush()
        held = shard.snapshot_manifest()
        shard.update(UpdateOperation.delete_points(job["deleted"]))
        _upsert(shard, job["upserted"])
        shard.optimize()
        shard.flush()
        current = shard.snapshot_manifest()
        answer = {
            "version": importlib.metadata.version("qdrant-edge-py"),
            "full": _sizes(path, _updated({}, current)),
            "partial": _sizes(path, _updated(held, current)),
        }
        shard.close()
    print(json.dumps(answer))


def _upsert(shard: Any, points: list[Any]) -> None:
    from qdrant_edge import Point, UpdateOperation

    for start in range(0, len(points), _BATCH):
        batch = [Point(label, vector, payload) for label, vector, payload in points[start : start + _BATCH]]
        shard.update(UpdateOperation.upsert_points(batch))


def _updated(held: dict[str, Any], current: dict[str, Any]) -> list[tuple[str, str]]:
    """Segment and file of each file that a device with the manifest `held` is sent."""
    found = []
    for segment, manifest in current.items():
        old = held.get(segment, {"file_versions": {}, "segment_version": 0})
        for file, version in manifest["file_versions"].items():
            if file not in old["file_versions"]:
                found.append((segment, file))
                continue
            before = old["file_versions"][file]
            before = old["segment_version"] if before is None else before
            if before < (manifest["segment_version"] if version is None else version):
                found.append((segment, file))
        found += [(segment, file) for file in _ALWAYS]
    return found


def _sizes(path: Path, files: list[tuple[str, str]]) -> dict[str, int]:
    """Bytes of the files, and of each of them after gzip."""
    contents = [(path / "segments" / segment / file).read_bytes() for segment, file in files]
    return {"bytes": sum(map(len, contents)), "gzip_bytes": sum(len(gzip.compress(data, 6)) for data in contents)}


if __name__ == "__main__":
    main()
