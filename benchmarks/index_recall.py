"""Recall and latency of the indexes: HNSW against exact, and against hnswlib called bare, in the same run.

    python benchmarks/index_recall.py --out out/index_recall.json

Vectors are seeded: unit vectors around random centres, 50 to a centre, spread as far as the centres' own length;
queries are drawn from the same distribution and are not in the index. One thread searches. "ratio" is ours divided by
the bare hnswlib call that returns as many ids with the same `ef`; both are called in turns, query by query, so that a
busy machine slows both alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "sdk"))

from handlens.index import ExactIndex, HnswIndex, add_codes, available
from handlens.index.hnsw import EF_CONSTRUCTION, EF_SEARCH, M
from handlens.wire.pack import encode_codes

PER_CENTRE = 50
K = 10
SDK_K = 40  # Options.neighbours


def clustered(count, dim, *, seed):
    """(count + 1000, dim) unit vectors; the last 1000 are queries."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((max(count // PER_CENTRE, 1), dim)).astype(np.float32)
    drawn = centres[random.integers(len(centres), size=count + 1000)]
    drawn += random.standard_normal(drawn.shape, dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def take_turns(calls, queries):
    """Microseconds p50 and p95 of each call, all called for each query in turn."""
    taken = {name: np.empty(len(queries)) for name in calls}
    for row, query in enumerate(queries):
        for name, call in calls.items():
            begun = time.perf_counter()
            call(query)
            taken[name][row] = time.perf_counter() - begun
    return {
        name: {"p50_us": round(np.median(times) * 1e6, 1), "p95_us": round(np.quantile(times, 0.95) * 1e6, 1)}
        for name, times in taken.items()
    }


def recall(index, exact, queries, **options):
    hits = sum(
        len(np.intersect1d(index.search(query, K, **options).ids, exact.search(query, K, **options).ids))
        for query in queries
    )
    return round(hits / (K * len(queries)), 4)


def filled(index, vectors):
    begun = time.perf_counter()
    for start in range(0, len(vectors), 4096):
        index.upsert(np.arange(start, min(start + 4096, len(vectors))), vectors[start : start + 4096])
    return index, round(time.perf_counter() - begun, 2)


def saved(index, dim):
    """Bytes on disk, and milliseconds to open and answer once."""
    query = np.ones(dim, np.float32)
    with tempfile.TemporaryDirectory() as folder:
        digest = index.save(Path(folder) / "index")
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        begun = time.perf_counter()
        type(index).open(Path(folder) / "index", space="bench", dim=dim, sha256=digest).search(query, K)
        return {"file_mb": round(size / 1e6, 2), "open_and_answer_ms": round((time.perf_counter() - begun) * 1e3, 1)}


def bare_hnswlib(vectors, threads):
    import hnswlib

    graph = hnswlib.Index(space="ip", dim=vectors.shape[1])
    graph.init_index(max_elements=len(vectors), M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)
    begun = time.perf_counter()
    graph.add_items(vectors, np.arange(len(vectors)), num_threads=threads)
    built = round(time.perf_counter() - begun, 2)
    graph.set_ef(EF_SEARCH)
    return graph, built


def measure(count, dim, *, threads, queries, seed):
    data = clustered(count, dim, seed=seed)
    vectors, asked = data[:count], data[count : count + queries]
    exact, exact_s = filled(ExactIndex(space="bench", dim=dim), vectors)
    coded = ExactIndex(space="bench", dim=dim, dtype="int8")
    add_codes(coded, np.arange(count), encode_codes(vectors))
    # Exact scans sweep the caches: what is compared with each other takes turns, what is not stands alone.
    latency = take_turns({"exact": lambda q: exact.search(q, SDK_K)}, asked)
    latency |= take_turns({"exact_int8": lambda q: coded.search(q, SDK_K)}, asked)
    result = {
        "count": count,
        "dim": dim,
        "exact": {"build_s": exact_s, **saved(exact, dim)},
        "exact_int8": {"recall_at_10": recall(coded, exact, asked), **saved(coded, dim)},
    }
    if available() is None:
        return {**result, "latency": latency}
    index, ours_s = filled(HnswIndex(space="bench", dim=dim, threads=threads), vectors)
    graph, bare_s = bare_hnswlib(vectors, threads)
    tenth = np.sort(np.random.default_rng(seed).choice(count, count // 10, replace=False))
    half = np.sort(np.random.default_rng(seed).choice(count, count // 2, replace=False))
    result["hnsw"] = {
        "recall_at_10": recall(index, exact, asked),
        "recall_at_10_of_a_tenth": recall(index, exact, asked, allowed=tenth),
        "recall_at_10_of_half": recall(index, exact, asked, allowed=half),
        "build_s": ours_s,
        **saved(index, dim),
    }
    bare_found = graph.knn_query(asked, k=K, num_threads=1)[0]
    truth = [exact.search(query, K).ids for query in asked]
    hits = sum(len(np.intersect1d(*pair)) for pair in zip(bare_found, truth, strict=True))
    result["bare_hnswlib"] = {"recall_at_10": round(hits / (K * len(asked)), 4), "build_s": bare_s}
    ours, bare = lambda q: index.search(q, SDK_K), lambda q: graph.knn_query(q, k=SDK_K, num_threads=1)
    latency |= take_turns({"hnsw": ours, "bare_hnswlib": bare}, asked)
    latency |= take_turns({"hnsw_of_a_tenth": lambda q: index.search(q, SDK_K, allowed=tenth)}, asked)
    latency |= take_turns({"hnsw_of_half": lambda q: index.search(q, SDK_K, allowed=half)}, asked)
    result["latency"] = latency
    result["ratio"] = {
        "search_p50": round(latency["hnsw"]["p50_us"] / latency["bare_hnswlib"]["p50_us"], 3),
        "build": round(ours_s / bare_s, 3),
    }
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--queries", type=int, default=500, help="at most 1000")
    parser.add_argument("--threads", type=int, default=2, help="threads that build HNSW; one searches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    report = {
        "command": "python " + " ".join(sys.argv),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "hnswlib": available(),
        "parameters": {"M": M, "ef_construction": EF_CONSTRUCTION, "ef": EF_SEARCH, "k_of_latency": SDK_K},
        "sizes": [],
    }
    for count in options.counts:
        measured = measure(count, options.dim, threads=options.threads, queries=options.queries, seed=options.seed)
        report["sizes"].append(measured)
        print(json.dumps(measured, indent=2))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
