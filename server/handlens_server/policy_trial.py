"""A trial: one photo answered from the backend's catalogue by policies that nobody was given yet.

The photo is answered by the code that answers on a device and on the server (`handlens.answering`). The catalogue is
read whole into a store and an index of its own: right for an editor's desk, not for serving.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy.orm import Session

from handlens.answering import Answerer, Ask, Stopwatch, look
from handlens.blend import Policy
from handlens.decision import Decision
from handlens.errors import DecodeError
from handlens.options import Options
from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder
from handlens.vision.image import load_photo
from handlens.wire.taxonomy import Taxonomy
from handlens_server.catalogue import CatalogueError
from handlens_server.local_index import LocalIndex
from handlens_server.policy_files import PolicyError
from handlens_server.search_catalogue import SearchCatalogue
from handlens_server.search_store import SearchStore
from handlens_server.stored_rows import unembedded

__all__ = ["decide"]


def decide(
    photo: Path, models: Path, session: Session, policies: Sequence[Policy], *, limit: int, locale: str, as_of: str
) -> list[Decision]:
    """What each policy makes of the photo's main object, and why.

    `models` is the folder that releases are made from; `as_of` is the moment from which items age (ISO 8601).

    Raises:
        ImageError, ModelError, CatalogueError, PolicyError: the photo, a model, the catalogue or the taxonomy cannot be
            used.
    """
    options = Options(locale=locale, max_objects=1)
    detector, embedder = Detector.open(models / "detector"), Embedder.open(models / "embedder")
    space, dim, taxonomy = embedder.spec.space, embedder.spec.dim, _taxonomy(models / "taxonomy.json")
    image = load_photo(photo, max_pixels=options.max_pixels, decode_side=options.decode_side)
    seen = look(image, detector, embedder, None, options, Stopwatch())[:1]
    missing = unembedded(session, space)
    if missing:
        raise CatalogueError(f"{missing} items are not embedded in {space}: run handlens-server catalog embed first")
    ask = Ask("trial", limit, locale=locale, day=as_of[:10], explain=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(SearchStore(Path(folder), space=space, dim=dim)) as store,
        closing(LocalIndex(space=space, dim=dim, folder=Path(folder) / "index")) as index,
    ):
        store.refresh(session, as_of)
        index.refresh(session)
        catalogue = SearchCatalogue(store, index, locale=locale)
        weights = embedder.spec.understanding
        answerers = [
            Answerer(catalogue, taxonomy, policy, options, weights=weights, as_of=as_of) for policy in policies
        ]
        answers = [answerer.answer(seen, ask, Stopwatch()) for answerer in answerers]
    return [decision for answer in answers for decision in (answer.objects[0].decision,) if decision is not None]


def _taxonomy(path: Path) -> Taxonomy:
    try:
        return Taxonomy.from_json(path.read_bytes())
    except OSError as error:
        raise PolicyError(f"{path} cannot be read ({error.strerror}): give the right --models") from error
    except DecodeError as error:
        raise PolicyError(f"{path}: {error}") from error
