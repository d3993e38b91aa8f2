"""From a photo to detections and embeddings: image, runtime, detector, embedder."""
