"""`Lens`: a photo in, blended results out. It composes the steps and holds no rule of its own.

>>> with Lens(Options(data_dir="~/.handlens", server_url="https://lens.example.com")) as lens:   # doctest: +SKIP
...     lens.sync()                                                  # models, packs, policy: verified
...     result = lens.search("street.jpg")                           # never touches the network
...     print(result.objects[0].type, result.objects[0].sections[0].title)

A `Lens` may be used by many threads: one may sync while others search. Models open with the first search. When this
process installs a release, the next search uses it; when another process does, the searches go on with the old one
until the new one is open.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handlens.answering import Ask, Beside, Stopwatch, could_improve, look_each, thread_beside
from handlens.engine import Engine, Engines, model_folder
from handlens.errors import FeedbackError, HandlensError, SyncError
from handlens.feedback import Deed, feedback_events, search_event
from handlens.geometry import Box
from handlens.options import Options
from handlens.results import Coverage, FoundObject, Match, SearchResult
from handlens.store import Outbox, PackState, Store
from handlens.sync.checks import checked_at, note_check
from handlens.sync.indexing import build_index
from handlens.sync.pacing import Pacer
from handlens.sync.reports import Progress, RollbackReport, SyncReport, no_progress
from handlens.upgrading import merge_answer, online_query
from handlens.vision.image import PhotoSource, load_photo
from handlens.vision.runtime import read_spec
from handlens.wire.event import Event
from handlens.wire.release import Release

if TYPE_CHECKING:
    from handlens.sync.transport import HttpTransport, Transport

__all__ = ["Lens", "Status"]


@dataclass(frozen=True, slots=True)
class Status:
    """What is on this device. Sizes are bytes; `age_days` is how old the release is by this device's clock.

    `checked_at` (ISO 8601, UTC) is when a sync last found this to be the newest release, "" for never. `former` names
    the release that `rollback` would bring back, `outbox` counts the events that wait.
    """

    release: str
    as_of: str
    age_days: float
    checked_at: str
    former: str
    packs: tuple[PackState, ...]
    detector: str
    embedder: str
    runtime: str
    index: str
    policy: str
    store_bytes: int
    models_bytes: int
    index_bytes: int
    outbox: int
    refused_events: int
    consent: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        names = self.__dataclass_fields__
        return {name: getattr(self, name) for name in names} | {"packs": [pack.to_dict() for pack in self.packs]}


class Lens:
    """Visual search on this device.

    Raises:
        NotReadyError: nothing is installed in `options.data_dir` (from `search` and `status`, never from `sync`).
        StoreError: the store is damaged, or of another version of handlens.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._outbox: Outbox | None = None
        self._engines = Engines(self.options)
        self._pacer = Pacer()
        self._helper: Beside | None = None

    def __enter__(self) -> Lens:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store and let go of the models. The Lens may be used again: it then opens anew."""
        with self._engines.closed(), self._lock:
            for opened in (self._store, self._outbox):
                if opened is not None:
                    opened.close()
            helper = self._helper
            self._store = self._outbox = self._helper = None
        if helper is not None:
            helper.shutdown()

    def sync(
        self,
        packs: tuple[str, ...] | list[str] | None = None,
        *,
        max_bytes: int | None = None,
        allow: Callable[[], bool] | None = None,
        send_events: bool = True,
        progress: Progress | None = None,
    ) -> SyncReport:
        """Bring this device to the newest release that is meant for it, and send the events that wait.

        `packs` chooses what to hold from now on: packs are added and dropped, an empty list means all of the release;
        None keeps the choice made before (at first `options.packs`). `max_bytes` is the most to download, `allow` is
        asked before each request and each part of an answer whether the network may be used ("only on Wi-Fi").
        `progress` is called with (step, done, total) of the steps events, download (bytes), pack NAME (rows), index
        (vectors). Searches go on meanwhile. What could not be sent waits, and the report says why.

        Raises:
            DownloadError: try later; what was fetched is kept. ReleaseError: what is offered is not to be trusted.
            BusyError: another process is syncing. SyncError: no server or no trusted root is given, or the disk is
            full. StoreError: the store cannot be written. In every case the last release stays in use.
        """
        report, transport = progress or no_progress, self._transport(allow)
        try:
            sent = self._send(transport, report) if send_events else (0, "")
            done = self._bring(transport, None, packs, max_bytes, report)
        finally:
            transport.close()
        waiting = self.outbox.count()
        return replace(done, events_sent=sent[0], events_error=sent[1], events_waiting=waiting)

    def install(self, folder: str | Path, *, progress: Progress | None = None) -> SyncReport:
        """Bring this device to the release in a folder that `handlens-server release bundle` wrote.

        It is verified as a download is, but for the expiry of its metadata. A device that trusts no root yet, and has
        no `options.trusted_root`, takes the folder's: install the first one from a source you trust.

        Raises:
            SyncError, StoreError: the folder is incomplete, damaged, not to be trusted or older than what this device
            has seen; the last release stays in use.
        """
        from handlens.sync.transport import FolderTransport

        root = Path(folder).expanduser()
        return self._bring(FolderTransport(root), root, None, None, progress or no_progress)

    def rollback(self, *, progress: Progress | None = None) -> RollbackReport:
        """Go back to the release before the last sync. The next sync leaves out the one that was left.

        Everything is as that release was: items that the one which is left had removed, among them those that the
        operator withdrew, are found again until the next newer release. The report says how many.

        Raises:
            NotReadyError: there is no former release. SyncError: it is damaged, or another process is syncing.
        """
        from handlens.sync.session import go_back, locked

        with locked(self.options.data_path):
            report = go_back(self._opened(), self.options.data_path)
            self._index(progress or no_progress)
        return report

    def reindex(self, *, progress: Progress | None = None) -> None:
        """Build the index file anew from the store's vectors."""
        self._index(progress or no_progress, anew=True)

    def feedback(
        self,
        result: SearchResult,
        *,
        clicked: Match | None = None,
        saved: Match | None = None,
        hidden: Match | None = None,
        box: Box | None = None,
        label: str = "",
        found: FoundObject | None = None,
        photo: PhotoSource | None = None,
        pictured: str = "",
    ) -> tuple[Event, ...]:
        """Keep what the user did with an answer, to be sent by the next sync; returns what is kept.

        `box` is a box that the user drew (fractions of the upright photo), `label` the user's word for it, or a
        correction of `found` (the main object where none is named). `photo` is needed only for consent ``crop``.
        `pictured` is the id of the item whose picture was searched: what several users draw on it can be put together.
        What `options.consent` does not cover is left out. The network is never touched.

        Raises:
            FeedbackError: consent is ``none``, there is nothing to keep, or too much waits already.
            ImageError: the photo cannot be used. StoreError: the outbox cannot be written.
        """
        options = self.options
        if options.consent == "none":
            raise FeedbackError("the user has not consented to keep events: set consent to events, embedding or crop")
        image = None
        if photo is not None and options.consent == "crop":
            image = load_photo(photo, max_pixels=options.max_pixels, decode_side=options.decode_side, box=box)
        deed = Deed(clicked, saved, hidden, box, label, found, pictured)
        events = feedback_events(result, deed, space=self._space(), now=_now(), photo=image)
        return tuple(self._keep(event, durable=True) for event in events)

    def lower_consent(self, consent: str) -> None:
        """Take from the events that wait what `consent` does not cover; ``none`` removes them all.

        Call it when the user allows less than before, and give the next `Lens` the same `options.consent`.

        Raises:
            OptionsError: no such consent. StoreError: the outbox cannot be written.
        """
        level = replace(self.options, consent=consent).consent
        self.outbox.change(lambda line: None if level == "none" else Event.from_json(line).within(level).to_json())

    def erase(self) -> bool:
        """Delete every event and this device's identity, here and on the server; the packs stay.

        Returns whether the server was told; if not, the next sync tells it.

        Raises:
            StoreError: the outbox cannot be written.
        """
        self.outbox.erase()
        if self.outbox.note("erase_token") is None:
            return True
        if not self.options.server_url:
            return False
        transport = self._transport(None)
        try:
            self._backend(transport).erase()
        except SyncError:
            return False  # it stays noted, and the caller is told
        finally:
            transport.close()
        return True

    @property
    def outbox(self) -> Outbox:
        """The events that wait to be sent."""
        with self._lock:
            if self._outbox is None:
                self._outbox = Outbox.open(self.options.data_path)
            return self._outbox

    def search(
        self,
        photo: PhotoSource,
        *,
        box: Box | None = None,
        refine: str | None = None,
        limit: int | None = None,
        request_id: str | None = None,
        explain: bool = False,
    ) -> SearchResult:
        """Search by a photo: a path, bytes, an open file, a Pillow image or an (h, w, 3) uint8 RGB array.

        `box` is the user's own crop, in fractions of the upright photo; without it objects are detected. `refine` is
        a word such as "recipe". `limit` is the most matches per object. The same photo, box, store and `request_id`
        always give the same answer. With `explain` each object carries the `decision` behind its sections. The network
        is never touched.

        Raises:
            ImageError: the photo cannot be used. NotReadyError: nothing is installed. UnknownPackError: `options.packs`
            names a pack that is not installed. ModelError, StoreError: models or store are damaged.
        """
        clock = Stopwatch()
        engine, options = self._ready(), self.options
        with clock.step("decode"):
            image = load_photo(photo, max_pixels=options.max_pixels, decode_side=options.decode_side, box=box)
        ask = Ask(
            request_id=request_id or uuid.uuid4().hex,
            limit=limit or options.limit,
            refine=refine,
            locale=options.locale,
            deadline_ms=options.deadline_ms,
            day=_now().strftime("%Y-%m-%d"),
            explore=options.consent != "none",
            explain=explain,
        )
        beside = self._beside()
        looks = look_each(image, engine.eyes, box, options, clock, beside)
        answer = engine.answerer.answer_each(looks, ask, clock, beside)
        coverage = Coverage(len(engine.packs), len(engine.release.packs))
        result = SearchResult(
            request_id=ask.request_id,
            image_size=image.size,
            objects=answer.objects,
            as_of=engine.release.as_of,
            release=engine.release.name,
            policy=engine.policy.version,
            index=engine.index.kind,
            packs=engine.packs,
            timings_ms=clock.milliseconds,
            refine=refine or "",
            coverage=coverage,
            left_out=answer.left_out,
            can_improve=could_improve(answer, engine.policy, coverage),
        )
        if self.options.consent != "none":
            with clock.step("outbox"):
                self._note_search(result)
        return result

    def upgrade(
        self, result: SearchResult, *, limit: int | None = None, allow: Callable[[], bool] | None = None
    ) -> SearchResult:
        """Ask the server, which has the whole catalogue, for its answer in place of `result`.

        It is sent boxes, labels, the embeddings' int8 codes and the words of `refine`, and answers by them; the photo
        stays here. The server keeps nothing of it. Calling this is the user's consent, for this one answer:
        `options.consent` says what may be kept and sent without being asked. `result.can_improve` says whether it may
        be worth it. `allow` is asked before each request whether the network may be used.

        Raises:
            DownloadError: not now, or the server has no answer; `result` stays good. DeviceError: the server refuses
            this device. SyncError: no server is given. ValueError: `result` did not come from `search` on this device.
        """
        options = self.options
        query = online_query(
            result,
            space=self._space(),
            limit=limit or options.limit,
            locale=options.locale,
            deadline_ms=options.deadline_ms,
        )
        transport = self._transport(allow)
        try:
            answer = self._backend(transport).search(json.dumps(query).encode())
        finally:
            transport.close()
        store = self._opened()
        return merge_answer(result, answer, lambda ids: {one: key for one, (key, _) in store.items_by_id(ids).items()})

    def thumbnail(self, match: Match) -> bytes | None:
        """The WebP thumbnail of a match, or None when its item has no picture."""
        return self._opened().thumbnail(match.item_key)

    def status(self) -> Status:
        """What is installed, which runtime and which index run, and why."""
        engine, store = self._ready(), self._opened()
        former = store.former_document("release")
        return Status(
            release=engine.release.name,
            as_of=engine.release.as_of,
            age_days=_age_days(engine.release.as_of),
            checked_at=checked_at(self.options.data_path),
            former="" if former is None else Release.from_json(former).name,
            packs=store.packs(),
            detector=engine.eyes.detector.spec.model_id,
            embedder=engine.eyes.embedder.spec.model_id,
            runtime=engine.eyes.embedder.runtime,
            index=str(engine.index),
            policy=engine.policy.version,
            store_bytes=store.stats().bytes,
            models_bytes=_size_of(self.options.data_path / "models"),
            index_bytes=_size_of(self.options.data_path / "index"),
            outbox=self.outbox.count(),
            refused_events=len(self.outbox.refused()),
            consent=self.options.consent,
        )

    def _bring(
        self,
        transport: Transport,
        folder: Path | None,
        packs: tuple[str, ...] | list[str] | None,
        max_bytes: int | None,
        progress: Progress,
    ) -> SyncReport:
        """Sync from a transport: from a folder when one is given, else from the server."""
        from handlens.sync.session import Wish, held_release, locked, sync_release
        from handlens.sync.trust import TrustedRepository, choose_anchor

        options, data_dir = self.options, self.options.data_path
        with locked(data_dir):
            store = self._opened(create=True)
            given = None if options.trusted_root is None else Path(options.trusted_root)
            offered = None if folder is None else lambda: b"".join(transport.read("metadata/1.root.json"))
            anchor = choose_anchor(data_dir / "trust", given, offered)
            repository = TrustedRepository(transport, data_dir / "trust", anchor, checks_expiry=folder is None)
            if packs is None and options.packs and held_release(store) is None:
                packs = options.packs
            chosen = None if packs is None else tuple(dict.fromkeys(packs))
            wish = Wish(self.outbox.device_id(), options.channel, chosen, max_bytes)
            report = sync_release(store, data_dir, repository, transport, wish, progress, self._pace)
            if folder is None:
                note_check(data_dir)
            self._index(progress)
        return report

    def _index(self, progress: Progress, *, anew: bool = False) -> None:
        """Bring index file and engine up to date with the store; exact search answers until the file is there."""
        store = self._opened()
        spec = read_spec(model_folder(store, self.options.data_path, "embedder"), "embedder")
        self._engines.renew(store)
        built = build_index(store, self.options.data_path, self.options, spec, anew=anew, progress=progress)
        self._engines.renew(store, built)

    def _pace(self) -> None:
        """Give way to searches where this process searches; one that only syncs works on."""
        if self._engines.is_open:
            self._pacer()

    def _transport(self, allow: Callable[[], bool] | None) -> HttpTransport:
        from handlens.sync.transport import HttpTransport

        options = self.options
        if not options.server_url:
            raise SyncError("no server to sync with: set server_url (--server), or install a release from a folder")
        return HttpTransport(options.server_url, timeout=options.timeout, retries=options.retries, allow=allow)

    def _backend(self, transport: HttpTransport) -> Any:
        from handlens.sync.backend import Backend

        return Backend(transport, self.outbox, enrolment_key=self.options.enrolment_key)

    def _send(self, transport: HttpTransport, progress: Progress) -> tuple[int, str]:
        """Send what waits; how many events went, and why the others did not. A release must not wait for them."""
        backend = self._backend(transport)
        try:
            backend.erase()
            return backend.send_events(progress), ""
        except SyncError as error:
            return 0, str(error)

    def _note_search(self, result: SearchResult) -> None:
        event = search_event(result, space=self._space(), now=_now())
        try:
            self._keep(event, durable=False)
        except HandlensError:
            return  # an answer must not fail because it could not be noted; status and feedback say that it is full

    def _keep(self, event: Event, *, durable: bool) -> Event:
        kept = event.within(self.options.consent)
        self.outbox.add(kept.event_id, kept.to_json(), most_bytes=self.options.outbox_bytes, durable=durable)
        return kept

    def _space(self) -> str:
        return self._ready().eyes.embedder.spec.space

    def _beside(self) -> Beside:
        """The thread that does what can be done while a model runs."""
        with self._lock:
            if self._helper is None:
                self._helper = thread_beside()
            return self._helper

    def _ready(self) -> Engine:
        return self._engines.ready(self._opened())

    def _opened(self, *, create: bool = False) -> Store:
        with self._lock:
            if self._store is None:
                self._store = Store.open(self.options.data_path, create=create)
            return self._store


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _age_days(as_of: str) -> float:
    try:
        made = datetime.fromisoformat(as_of.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return round((_now() - made).total_seconds() / 86400, 1)
