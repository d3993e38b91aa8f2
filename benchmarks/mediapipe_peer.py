"""What a user would glue together instead of handlens: MediaPipe Tasks and hnswlib, with the same two networks.

A child process of `photo_to_results.py`, in an environment of its own (``pip install mediapipe hnswlib``):

    python benchmarks/photo_to_results.py --mediapipe-python PATH/TO/THAT/ENVIRONMENT/bin/python

It reads one word a line on standard input, ``file`` or ``pixels``, does the job once and answers with one JSON line of
milliseconds by step. So the parent can take turns with it, and a busy machine slows both alike.

The job: load the photo (``mp.Image.create_from_file``), detect, embed the three best boxes (as regions of interest,
without a copied crop), ask hnswlib for the 40 nearest of the same catalogue vectors.

What is not the same:

- MediaPipe stops at neighbours: no items are read, nothing is understood, annotated or blended. handlens's total has
  all of that.
- It loads JPEG at full size; it has no scaled decode. ``pixels`` gives both sides the same 1000 x 750 array.
- Its Python API has no option for threads, and each model runs in one (`cpu_per_wall` near 1 shows it).
- It resizes by bilinear samples without a filter, which is cheaper than ours and aliases.
- Detector and embedder are our networks behind the few operators that MediaPipe needs: see `mediapipe_models.py`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__: list[str] = []

_OBJECTS = 3


class _Clock:
    """Milliseconds from one `lap` to the next, added up by name."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.steps[name] = self.steps.get(name, 0.0) + (now - self._last) * 1000
        self._last = now


class _Peer:
    """Both models and the index, opened once."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        import hnswlib
        import mediapipe
        import numpy as np
        from mediapipe.tasks.python import BaseOptions, vision
        from mediapipe_models import detector_for_mediapipe, embedder_for_mediapipe

        detector, self._detector_spec = _model(arguments.models / "detector", detector_for_mediapipe)
        embedder, self._embedder_spec = _model(arguments.models / "embedder", embedder_for_mediapipe)
        self._media = mediapipe
        self._detector = vision.ObjectDetector.create_from_options(
            vision.ObjectDetectorOptions(
                base_options=BaseOptions(model_asset_buffer=detector),
                max_results=10,
                score_threshold=self._detector_spec["decode"]["min_score"],
            )
        )
        self._embedder = vision.ImageEmbedder.create_from_options(
            vision.ImageEmbedderOptions(base_options=BaseOptions(model_asset_buffer=embedder), l2_normalize=True)
        )
        vectors = np.load(arguments.vectors)
        self._index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        self._index.init_index(max_elements=len(vectors), M=16, ef_construction=200)
        self._index.add_items(vectors)
        self._index.set_ef(arguments.ef)
        self._index.set_num_threads(1)
        self._neighbours = arguments.neighbours
        self._photo = str(arguments.photo)
        self._pixels = np.load(arguments.pixels)

    def run(self, source: str) -> dict[str, float]:
        clock = _Clock()
        image = self._load(source)
        clock.lap("decode")
        areas = self._detect(image)
        clock.lap("detect")
        for area in areas:
            vector = self._embed(image, area)
            clock.lap("embed")
            self._index.knn_query(vector, k=self._neighbours)
            clock.lap("index")
        return clock.steps

    def close(self) -> None:
        self._detector.close()
        self._embedder.close()

    def _load(self, source: str) -> Any:
        if source == "file":
            return self._media.Image.create_from_file(self._photo)
        return self._media.Image(image_format=self._media.ImageFormat.SRGB, data=self._pixels)

    def _detect(self, image: Any) -> list[Any]:
        from mediapipe.tasks.python.components.containers.rect import RectF

        boxes = [one.bounding_box for one in self._detector.detect(image).detections[:_OBJECTS]]
        if len(boxes) < _OBJECTS:
            raise SystemExit(f"MediaPipe found {len(boxes)} objects, {_OBJECTS} are needed to compare the same work")
        across, down = 1 / image.width, 1 / image.height
        return [
            RectF(
                left=max(box.origin_x * across, 0.0),
                top=max(box.origin_y * down, 0.0),
                right=min((box.origin_x + box.width) * across, 1.0),
                bottom=min((box.origin_y + box.height) * down, 1.0),
            )
            for box in boxes
        ]

    def _embed(self, image: Any, area: Any) -> Any:
        from mediapipe.tasks.python.vision.core.image_processing_options import ImageProcessingOptions

        result = self._embedder.embed(image, ImageProcessingOptions(region_of_interest=area))
        return result.embeddings[self._embedder_spec["outputs"]["embedding"]["position"]].embedding


def _model(folder: Path, convert: Callable[[bytes, dict[str, Any]], bytes]) -> tuple[bytes, dict[str, Any]]:
    spec = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return convert((folder / spec["file"]).read_bytes(), spec), spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder with detector/ and embedder/")
    parser.add_argument("--photo", type=Path, required=True, help="the JPEG")
    parser.add_argument("--pixels", type=Path, required=True, help="the decoded photo, (h, w, 3) uint8, as .npy")
    parser.add_argument("--vectors", type=Path, required=True, help="the catalogue's unit vectors, (n, dim) float32")
    parser.add_argument("--neighbours", type=int, default=40)
    parser.add_argument("--ef", type=int, default=128, help="hnswlib's breadth of search")
    peer = _Peer(parser.parse_args())
    print(json.dumps({name: importlib.metadata.version(name) for name in ("mediapipe", "hnswlib")}), flush=True)
    for line in sys.stdin:
        processor, wall = time.process_time(), time.perf_counter()
        steps = peer.run(line.strip())
        cpu_per_wall = (time.process_time() - processor) / (time.perf_counter() - wall)
        print(json.dumps({"steps_ms": steps, "cpu_per_wall": cpu_per_wall}), flush=True)
    peer.close()


if __name__ == "__main__":
    main()
