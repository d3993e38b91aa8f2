"""The searches of one server process: opened with the first one, and kept up to date behind the others.

Rules:

1. Nothing is opened before somebody searches. The first searches wait for at most `search_wait_seconds`, then they are
   told to try later; the building goes on.
2. A thread looks every `search_poll_ms` whether the catalogue or the release changed, and takes over what did. A change
   of the catalogue is found by searches within a second, in every process. When that fails, the last state goes on.
3. A search works on the state it began with. The first state is whole: while another process fills an index that
   they share, nobody is answered from what is in it so far.
4. A photo with a deadline is looked at as far as there is time (`look_in_time`), by what the steps took lately.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog
from PIL.Image import DecompressionBombError
from sqlalchemy import select

from handlens.answering import Answer, Answerer, Ask, Hurry, Seen, Stopwatch, could_improve, look, look_in_time
from handlens.blend import Policy
from handlens.errors import HandlensError, ImageError
from handlens.index import available
from handlens.options import Options
from handlens.results import Coverage, LeftOut, SearchResult
from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder
from handlens.vision.image import Photo, load_photo, read_size
from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.embedding import PictureEmbedder
from handlens_server.full_index import FullIndex
from handlens_server.index_choice import open_full_index
from handlens_server.index_keeper import IndexKeeper
from handlens_server.pace import Pace
from handlens_server.packs import Rule, pack_rules
from handlens_server.published import published_version
from handlens_server.search_catalogue import SearchCatalogue
from handlens_server.search_errors import SearchRefusedError, SearchUnavailableError
from handlens_server.search_release import SearchRelease, open_release
from handlens_server.search_requests import SearchRequest, SearchScope, read_seen
from handlens_server.search_store import SearchStore
from handlens_server.tables import SequenceRow
from handlens_server.times import Clock, day_of, text_of

__all__ = ["SearchEngine"]

_OF_ONE = ("embed", "colours", "index", "understand", "sources", "blend")  # the steps that each object takes
_ANSWERERS = 64  # of different languages, packs and scopes, kept while the catalogue stays the same
_log = structlog.get_logger("handlens_server.search")


@dataclass(slots=True, eq=False)
class _State:
    """What searches use. Models open with the first photo."""

    release: SearchRelease
    store: SearchStore
    index: FullIndex
    keeper: IndexKeeper
    rules: dict[str, Rule]
    options: Options
    models: tuple[Detector, Embedder] | None = None
    opening: threading.Lock = field(default_factory=threading.Lock)
    answerers: dict[tuple[object, ...], Answerer] = field(default_factory=dict)

    def answerer(self, locale: str, packs: tuple[str, ...], scope: SearchScope | None) -> Answerer:
        """What answers for a language, packs and a scope; made anew when something changed: it keeps text hits."""
        unknown = next((pack for pack in packs if pack not in self.rules), None)
        if unknown is not None:
            raise SearchRefusedError("pack-unknown", f"there is no pack {unknown[:80]!r} on this server")
        rules = tuple(self.rules[pack] for pack in packs)
        key = (self.store.generation(), locale, rules, None if scope is None else scope.name)
        found = self.answerers.get(key)
        if found is None:
            audiences = None if scope is None else scope.audiences
            catalogue = SearchCatalogue(self.store, self.index, locale=locale, rules=rules, audiences=audiences)
            found = Answerer(
                catalogue,
                self.release.taxonomy,
                self.policy(scope),
                self.options,
                weights=self.release.spec.understanding,
                as_of=self.release.release.as_of,
            )
            if len(self.answerers) >= _ANSWERERS:
                self.answerers.clear()
            self.answerers[key] = found
        return found

    def policy(self, scope: SearchScope | None) -> Policy:
        """The policy of a scope, which lets pass what the scope may see; or the release's."""
        if scope is None:
            return self.release.policy
        policy = scope.policy or self.release.policy
        return replace(policy, audiences={**(policy.audiences or {}), scope.audience: tuple(sorted(scope.audiences))})

    def close(self) -> None:
        """Close index and store; what they hold stays on the disk."""
        self.keeper.close()
        self.index.close()
        self.store.close()

    def open_models(self) -> tuple[Detector, Embedder]:
        """Detector and embedder of the release."""
        with self.opening:
            if self.models is None:
                threads = self.options.threads
                self.models = (
                    Detector.open(self.release.detector, threads=threads),
                    Embedder.open(self.release.embedder, threads=threads),
                )
            return self.models


class SearchEngine:
    """Answers `SearchRequest`s. Thread-safe; close it at the end."""

    def __init__(self, config: Config, database: Database, clock: Clock) -> None:
        self._config = config
        self._database = database
        self._clock = clock
        self._folder = config.data_dir / "search"
        self._options = Options(data_dir=self._folder, threads=config.search_threads)
        self._pace = Pace()
        self._index_kind = "milvus" if config.index else "hnsw" if available() else "exact"
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._state: _State | None = None
        self._coming: tuple[str, _State] | None = None  # of a release, until it is whole
        self._published = ""
        self._reason = "it is being opened"

    def close(self) -> None:
        """Stop following the catalogue and close what is open."""
        self._stopping.set()
        with self._starting:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        if self._state is not None:
            self._state.close()
        self._drop_coming()
        self._state = None

    def answer_photo(
        self,
        data: bytes,
        request: SearchRequest,
        clock: Stopwatch,
        scope: SearchScope | None = None,
        *,
        too_late: Callable[[float, float], HandlensError] | None = None,
    ) -> SearchResult:
        """Search by the bytes of a photo.

        `too_late` makes the error to raise where the deadline would be over before the main object is answered, from
        the milliseconds that went by and the deadline; without it, that object is answered late.

        Raises:
            ImageError: it cannot be used. SearchRefusedError: it has too many pixels, or a pack is unknown.
            SearchUnavailableError: not now. ModelError: a model of the release is damaged.
        """
        state = self._opened(request, clock)
        with clock.step("decode"):
            photo = self._decoded(data, request)
        detector, embedder = state.open_models()
        hurry = self._hurry(request)
        left_out: tuple[LeftOut, ...] = ()
        if hurry is None:
            seen = look(photo, detector, embedder, request.box, state.options, clock)
        else:
            if too_late is not None and clock.elapsed + hurry.one > hurry.deadline_ms:
                self._pace.fade("one")
                raise too_late(clock.elapsed, hurry.deadline_ms)
            seen, left_out = look_in_time(photo, detector, embedder, request.box, state.options, clock, hurry)
        result = self._answer(state, seen, request, photo.size, clock, scope, left_out)
        self._note(clock, len(seen))
        return result

    def answer_seen(self, request: SearchRequest, clock: Stopwatch, scope: SearchScope | None = None) -> SearchResult:
        """Search by what a device saw in its photo.

        Raises:
            DecodeError, SearchRefusedError: the request cannot be served. SearchUnavailableError: not now.
        """
        state = self._opened(request, clock)
        seen = read_seen(request, state.release.spec, state.release.taxonomy)
        return self._answer(state, seen, request, request.image_size, clock, scope)

    def picture_embedder(self) -> PictureEmbedder:
        """What embeds the catalogue's pictures as the searches' models do.

        Raises:
            SearchUnavailableError: not now. ModelError: a model of the release is damaged.
        """
        return PictureEmbedder(*self._opened().open_models())

    def _hurry(self, request: SearchRequest) -> Hurry | None:
        if request.deadline_ms is None:
            return None
        return Hurry(request.deadline_ms, self._pace.expected("detect"), self._pace.expected("one"))

    def _note(self, clock: Stopwatch, objects: int) -> None:
        """Remember how long the steps of this photo took."""
        took = clock.milliseconds
        if "detect" in took:
            self._pace.note("detect", took["detect"])
        self._pace.note("one", sum(took.get(step, 0.0) for step in _OF_ONE) / max(objects, 1))

    def _answer(
        self,
        state: _State,
        seen: Sequence[Seen],
        request: SearchRequest,
        size: tuple[int, int],
        clock: Stopwatch,
        scope: SearchScope | None,
        left_out: tuple[LeftOut, ...] = (),
    ) -> SearchResult:
        locale = state.options.locale if request.locale is None else request.locale
        answerer = state.answerer(locale, request.packs, scope)
        ask = Ask(
            request_id=request.request_id or uuid.uuid4().hex,
            limit=request.limit or state.options.limit,
            refine=request.refine,
            locale=locale,
            deadline_ms=request.deadline_ms,
            day=day_of(self._clock()),
            kinds=request.kinds,
            audience="all" if scope is None else scope.audience,
        )
        try:
            answer = answerer.answer(seen, ask, clock)
        except HandlensError as error:
            raise SearchUnavailableError(f"no source can answer: {error}") from error
        whole = replace(answer, left_out=(*left_out, *answer.left_out))
        return self._result(state, whole, ask, request, size, clock, state.policy(scope))

    def _result(
        self,
        state: _State,
        answer: Answer,
        ask: Ask,
        request: SearchRequest,
        size: tuple[int, int],
        clock: Stopwatch,
        policy: Policy,
    ) -> SearchResult:
        release = state.release
        known = len(state.rules)
        coverage = Coverage(len(request.packs) or known, known)
        return SearchResult(
            request_id=ask.request_id,
            image_size=size,
            objects=answer.objects,
            as_of=state.store.as_of,
            policy=policy.version,
            index=self._index_kind,
            packs=request.packs or tuple(sorted(state.rules)),
            served_by="server",
            release=release.release.name,
            timings_ms=clock.milliseconds,
            refine=ask.refine or "",
            coverage=coverage,
            left_out=tuple(_told(one) for one in answer.left_out),
            can_improve=could_improve(answer, policy, coverage),
        )

    def _decoded(self, data: bytes, request: SearchRequest) -> Photo:
        most = self._config.search_pixels
        try:
            width, height = read_size(data)
        except ImageError as error:
            if isinstance(error.__cause__, DecompressionBombError):
                raise SearchRefusedError("photo-too-large", str(error)) from error
            raise
        if width * height > most:
            raise SearchRefusedError(
                "photo-too-large", f"the photo has {width} x {height} pixels, more than {most:,}: scale it down"
            )
        return load_photo(data, max_pixels=most, decode_side=self._options.decode_side, box=request.box)

    def _opened(self, request: SearchRequest | None = None, clock: Stopwatch | None = None) -> _State:
        """The state that answers; who has a deadline waits for the first one no longer than that."""
        self._start()
        wait = float(self._config.search_wait_seconds)
        if request is not None and clock is not None and request.deadline_ms is not None:
            wait = min(wait, max(0.0, request.deadline_ms - clock.elapsed) / 1000)
        self._ready.wait(wait)
        state = self._state
        if state is None:
            raise SearchUnavailableError(f"searches cannot be answered yet: {self._reason}")
        return state

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._follow, name="handlens-search", daemon=True)
                self._thread.start()

    def _follow(self) -> None:
        while True:
            pause = self._config.search_poll_ms / 1000
            try:
                begun = time.monotonic()
                self._step()
                self._ready.set()
                pause = max(0.0, pause - (time.monotonic() - begun))  # what changed during a long step waits no longer
            except HandlensError as error:
                if str(error) != self._reason:
                    _log.warning("search-not-renewed", reason=str(error))
                self._reason = str(error)
            if self._stopping.wait(pause):
                return

    def _step(self) -> None:
        """Take over what changed since the last one."""
        published = published_version(self._config.repository_path)
        state = self._state
        if state is None or published != self._published:
            if self._coming is None or self._coming[0] != published:
                self._drop_coming()
                self._coming = (published, self._renewed(state))
            state = self._coming[1]
        self._refresh(state)
        if state is not self._state:
            former, self._state, self._published, self._coming = self._state, state, published, None
            if former is not None and former.store is not state.store:
                former.close()

    def _drop_coming(self) -> None:
        """Close a state that never came to answer, but for what it shares with the one that does."""
        coming, self._coming = self._coming, None
        if coming is not None and (self._state is None or coming[1].store is not self._state.store):
            coming[1].close()

    def _renewed(self, former: _State | None) -> _State:
        """A state of the release as it is; what did not change with it stays open."""
        release = open_release(self._config, self._folder / "models")
        space, dim = release.spec.space, release.spec.dim
        is_same = former is not None and former.store.space == space
        store = former.store if former is not None and is_same else SearchStore(self._folder, space=space, dim=dim)
        index, keeper = (
            (former.index, former.keeper) if former is not None and is_same else self._open_index(space, dim)
        )
        state = _State(release, store, index, keeper, {}, self._options)
        if former is not None and former.release.release.embedder == release.release.embedder:
            state.models = former.models if former.release.release.detector == release.release.detector else None
        return state

    def _open_index(self, space: str, dim: int) -> tuple[FullIndex, IndexKeeper]:
        index = open_full_index(self._config, space=space, dim=dim)
        keeper = IndexKeeper(index, self._database)
        keeper.start()
        return index, keeper

    def _refresh(self, state: _State) -> None:
        with self._database.read() as session:
            newest = session.scalar(select(SequenceRow.value).where(SequenceRow.name == "catalogue")) or 0
            state.rules = pack_rules(session)
            if state.store.sequence < newest:
                state.store.refresh(session, text_of(self._clock()))
            if state.index.sequence < newest:
                state.index.refresh(session)
        if self._state is None and state.index.sequence < newest:
            raise SearchUnavailableError("another process fills the index")


def _told(lost: LeftOut) -> LeftOut:
    """What outsiders learn of a source that took no part: that it failed, not how; that is for the log."""
    if lost.is_late:
        return lost
    _log.warning("source-failed", source=lost.source, reason=lost.reason)
    return replace(lost, reason="it cannot be asked now")
