"""Messy events drawn from true boxes by a stated noise model, for measuring the pipeline's quality and scale.

Rules:

1. An event is a function of truth, options and its number: the same seed gives the same events for any size of shard.
2. Memory does not grow with the number of events: they are drawn in chunks of `CHUNK` and written at once.
3. What an event was meant to be stands in a separate truth, never in the event.
4. Where more photos are asked for than the truth has, copies of them are made, named ``<photo>~1``, ``<photo>~2``...

Who draws: users by a power law (`SimulationOptions.users`), one person of `heavy_share` of all boxes, and robots of
some thousand boxes each.

::

    scene, options = Scene(load_truth(path)), SimulationOptions(events=1_000_000, seed=7)
    for chunk in chunks_of(scene, options):
        write(drawn_boxes(scene, options, chunk))
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from handlens.errors import OptionsError
from handlens_conversion.boxes.drawn import DrawnBox
from handlens_conversion.boxes.noise import KINDS, NoiseModel
from handlens_conversion.boxes.truth import TruePhoto

__all__ = ["CHUNK", "Chunk", "Scene", "SimulationOptions", "chunks_of", "draw_chunk", "drawn_boxes"]

CHUNK = 20_000  # events drawn at once
_ROBOT_BOXES = 3_000  # of one robot, at two a second
_START = 1_767_225_600  # 2026-01-01T00:00:00Z
_DAYS = 90
_MIN_SIDE = 1e-3  # fraction of the photo: a box drawn smaller is drawn as this

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """How much is drawn, by whom, on what."""

    events: int = 10_000
    seed: int = 0
    photos: int | None = None  # None: those of the truth, once each
    users: int | None = None  # None: one for each ten events
    skew_photo: int = 0  # so many of the events are all on the first photo
    skew_user: int = 0  # so many of the events are all by the first user
    noise: NoiseModel = field(default_factory=NoiseModel)

    def __post_init__(self) -> None:
        if self.events < 1 or self.seed < 0 or (self.photos or 1) < 1 or (self.users or 1) < 1:
            raise OptionsError("a simulation needs at least one event, photo and user, and a seed from 0")
        if not 0 <= max(self.skew_photo, self.skew_user) <= self.events:
            raise OptionsError("no more events than there are can be on one photo or by one user")


@dataclass(frozen=True, slots=True)
class Chunk:
    """m events, beginning with number `first`.

    `edges` (m, 4) are fractions; `photo`, `user`, `word` (-1: none), `kind` and `meant`, the object's number in its
    photo (-1: none was meant), are codes (m,); `at` (m,) is in seconds UTC; `ids` has 32 hexadecimal digits an event.
    """

    first: int
    ids: str
    edges: Floats
    photo: Ints
    user: Ints
    word: Ints
    kind: Ints
    meant: Ints
    at: Ints


class Scene:
    """The truth as arrays: all objects in a row, and where each photo's begin."""

    def __init__(self, truth: Sequence[TruePhoto]) -> None:
        photos = [photo for photo in truth if photo.objects]
        self.photos = [photo.photo for photo in photos]
        self.words = sorted({one.word for photo in photos for one in photo.objects})
        code = {word: number for number, word in enumerate(self.words)}
        self.edges = np.array([one.box for photo in photos for one in photo.objects])
        self.word = np.array([code[one.word] for photo in photos for one in photo.objects])
        self.count = np.array([len(photo.objects) for photo in photos])
        self.begin = np.concatenate([[0], np.cumsum(self.count)[:-1]])
        # Objects are not drawn alike: large ones more, by the root of their area.
        area = (self.edges[:, 2:] - self.edges[:, :2]).prod(axis=1)
        self.upto = np.cumsum(np.sqrt(area))

    def photo_name(self, number: int) -> str:
        """The id of the photo or copy of that number."""
        copy, original = divmod(number, len(self.photos))
        return f"{self.photos[original]}~{copy}" if copy else self.photos[original]


def chunks_of(scene: Scene, options: SimulationOptions) -> Iterator[Chunk]:
    """All events, chunk by chunk."""
    for first in range(0, options.events, CHUNK):
        yield draw_chunk(scene, options, first)


def draw_chunk(scene: Scene, options: SimulationOptions, first: int) -> Chunk:
    """The events of number `first` to the end of their chunk."""
    random = np.random.default_rng([options.seed, first // CHUNK])
    # All numbers are drawn for a whole chunk, so that the last, shorter one begins like a whole one.
    size, noise = CHUNK, options.noise
    kept = slice(0, min(CHUNK, options.events - first))
    number = first + np.arange(size)
    kind = np.searchsorted(np.cumsum(list(noise.shares().values())), random.random(size), side="right")
    kind = np.minimum(kind, len(KINDS) - 1)
    photo, meant = _subjects(scene, options, number, random)
    user = _users(options, number, kind, random)
    row = scene.begin[photo % len(scene.photos)] + meant
    edges = _edges(scene, noise, kind, user, row, photo, options.seed, random)
    word = scene.word[row].copy()
    wrong = random.random(size) < noise.wrong_word
    word = np.where(wrong, random.integers(0, len(scene.words), size), word)
    word[random.random(size) < noise.no_word] = -1
    at = _times(kind, number, random)
    pointless = np.isin(kind, [KINDS.index(name) for name in ("whole", "random", "robot")])
    ids = random.bytes(16 * size).hex()[: 32 * kept.stop]
    meant[pointless] = -1
    return Chunk(first, ids, edges[kept], photo[kept], user[kept], word[kept], kind[kept], meant[kept], at[kept])


def drawn_boxes(scene: Scene, options: SimulationOptions, chunk: Chunk) -> Iterator[DrawnBox]:
    """The events of a chunk as records, as `drawn.read_event` would read them."""
    for row, edges in enumerate(chunk.edges.round(5).tolist()):
        word = int(chunk.word[row])
        yield DrawnBox(
            event_id(chunk, row),
            user_id(options.seed, int(chunk.user[row])),
            scene.photo_name(int(chunk.photo[row])),
            (edges[0], edges[1], edges[2], edges[3]),
            None if word < 0 else scene.words[word],
            float(chunk.at[row]),
        )


def event_id(chunk: Chunk, row: int) -> str:
    """The id of an event, a UUID of version 4."""
    text = chunk.ids[32 * row : 32 * row + 32]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"


@lru_cache(maxsize=100_000)
def user_id(seed: int, user: int) -> str:
    """The id of a user's device, a UUID of version 4."""
    digest = hashlib.blake2b(f"{seed}:{user}".encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))


def _subjects(scene: Scene, options: SimulationOptions, number: Ints, random: np.random.Generator) -> tuple[Ints, Ints]:
    """The photo of each event, evenly, and the number of an object in it, large ones more often."""
    photo = random.integers(0, options.photos or len(scene.photos), len(number))
    photo[_spaced(number, options.skew_photo, options.events, 0)] = 0
    original = photo % len(scene.photos)
    begin, end = scene.begin[original], scene.begin[original] + scene.count[original] - 1
    low = np.where(begin > 0, scene.upto[begin - 1], 0.0)
    target = low + random.random(len(number)) * (scene.upto[end] - low)
    chosen = np.searchsorted(scene.upto, target, side="right")
    return photo, np.asarray(np.clip(chosen, begin, end) - begin)


def _users(options: SimulationOptions, number: Ints, kind: Ints, random: np.random.Generator) -> Ints:
    """User 0 is the heavy one, the people follow by a power law, the robots are the negative numbers."""
    people = options.users or max(options.events // 10, 1)
    user: Ints = 1 + np.floor(people * np.square(random.random(len(number)))).astype(np.int64)
    user[random.random(len(number)) < options.noise.heavy_share] = 0
    user[_spaced(number, options.skew_user, options.events, 1)] = 0
    robots = max(round(options.noise.robot_share * options.events / _ROBOT_BOXES), 1)
    is_robot = kind == KINDS.index("robot")
    user[is_robot] = -1 - random.integers(0, robots, len(number))[is_robot]
    return user


def _spaced(number: Ints, some: int, events: int, turn: int) -> NDArray[np.bool_]:
    """`some` of all events, evenly spaced; `turn` tells two such choices apart."""
    place = (number + turn * (events // 2)) % events
    return np.asarray((place + 1) * some // events > place * some // events)


def _edges(
    scene: Scene,
    noise: NoiseModel,
    kind: Ints,
    user: Ints,
    row: Ints,
    photo: Ints,
    seed: int,
    random: np.random.Generator,
) -> Floats:
    true = scene.edges[row]
    side = np.tile(true[:, 2:] - true[:, :2], 2)
    noise_of_edge = random.standard_normal(true.shape)
    own = noise.spread * np.exp(noise.user_spread * _user_normal(seed, user))
    edges = true + side * noise_of_edge * own[:, None]
    for name, shift in (("loose", noise.loose * np.array([-1, -1, 1, 1])), ("partial", np.array(noise.partial))):
        rows = np.flatnonzero(kind == KINDS.index(name))
        edges[rows] = true[rows] + side[rows] * (shift + noise.way_spread * noise_of_edge[rows])
    edges = _astray(edges, kind, side, random)
    other = scene.begin[photo % len(scene.photos)] + (
        random.random(len(row)) * scene.count[photo % len(scene.photos)]
    ).astype(np.int64)
    merged = np.flatnonzero(kind == KINDS.index("merged"))
    both = np.stack([true[merged], scene.edges[other[merged]]])
    edges[merged, :2], edges[merged, 2:] = both[:, :, :2].min(axis=0), both[:, :, 2:].max(axis=0)
    any_box = np.sort(random.random((len(row), 2, 2)), axis=1).reshape(-1, 4)
    rows = np.flatnonzero(kind == KINDS.index("random"))
    edges[rows] = any_box[rows]
    edges[kind == KINDS.index("whole")] = (0.0, 0.0, 1.0, 1.0)
    rows = np.flatnonzero(kind == KINDS.index("robot"))
    edges[rows] = np.where(user[rows, None] % 2 == 1, _robot_boxes(user[rows]), any_box[rows])
    return _inside(edges)


def _astray(edges: Floats, kind: Ints, side: Floats, random: np.random.Generator) -> Floats:
    """Slips: one edge of a box further out, or in, by 0.3 to 1 of the side."""
    edge = random.integers(0, 4, len(edges))
    way = random.uniform(0.3, 1.0, len(edges)) * random.choice([-1.0, 1.0], len(edges))
    rows = np.flatnonzero(kind == KINDS.index("slip"))
    edges[rows, edge[rows]] += way[rows] * side[rows, edge[rows]]
    return edges


def _robot_boxes(user: Ints) -> Floats:
    """The fixed box of each robot, a function of its number."""
    turn = np.abs(user)[:, None] * np.array([0.618, 0.414, 0.732, 0.236]) % 1.0
    corner, size = 0.6 * turn[:, :2], 0.2 + 0.2 * turn[:, 2:]
    return np.concatenate([corner, corner + size], axis=1)


def _user_normal(seed: int, user: Ints) -> Floats:
    """A standard normal that belongs to each user (Box and Muller, on two hashes of its number)."""
    mixed = (user.astype(np.uint64) + np.uint64(seed + 1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(29)
    first = ((mixed >> np.uint64(40)).astype(np.float64) + 0.5) / 2**24
    second = ((mixed & np.uint64(0xFFFFFF)).astype(np.float64) + 0.5) / 2**24
    return np.asarray(np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second))


def _inside(edges: Floats) -> Floats:
    """Clipped to the photo, edges in order, and never thinner than `_MIN_SIDE`."""
    low = np.minimum(edges[:, :2], edges[:, 2:])
    high = np.maximum(edges[:, :2], edges[:, 2:])
    low = np.clip(low, 0, 1 - _MIN_SIDE)
    return np.concatenate([low, np.clip(high, low + _MIN_SIDE, 1)], axis=1)


def _times(kind: Ints, number: Ints, random: np.random.Generator) -> Ints:
    """People draw by day over three months; a robot draws through one night."""
    day = random.integers(0, _DAYS, len(number))
    second = np.clip(random.normal(14 * 3600, 3 * 3600, len(number)), 0, 86_399).astype(np.int64)
    at = _START + day * 86_400 + second
    robot = kind == KINDS.index("robot")
    at[robot] = _START + random.integers(0, _ROBOT_BOXES // 2, len(number))[robot]
    return at
