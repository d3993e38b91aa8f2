"""Answering a photo: what is seen in it, its neighbours, what it is, what the sources offer, and the blend of that.

A device and the server run this same code, each with a catalogue of its own (`Catalogue`): that is why they give the
same answer. Rules:

* Nothing here opens a file or a connection; the catalogue and the models are passed in, and so are clock and day.
* An index only *finds* neighbours. How similar they are is computed from their codes (`neighbours_of`), so that an
  exact index, a graph and a remote index lead to the same figures.
* A source that fails, or whose turn comes after the deadline, is left out and named. Only when nothing could be
  offered because sources failed does the failure come out: an empty answer would hide it.
* With `look_in_time` the same holds for what is seen: the detector, or the last objects, are left out and named when
  they would not be done by the deadline.
"""

from __future__ import annotations

from handlens.answering.beside import Beside, thread_beside
from handlens.answering.clock import Stopwatch
from handlens.answering.looking import Eyes, Hurry, Look, Seen, look, look_each, look_in_time
from handlens.answering.neighbours import Catalogue, Near, Nearby, neighbours_of
from handlens.answering.pipeline import Answer, Answerer, Ask, could_improve

__all__ = [
    "Answer",
    "Answerer",
    "Ask",
    "Beside",
    "Catalogue",
    "Eyes",
    "Hurry",
    "Look",
    "Near",
    "Nearby",
    "Seen",
    "Stopwatch",
    "could_improve",
    "look",
    "look_each",
    "look_in_time",
    "neighbours_of",
    "thread_beside",
]
