"""What a rater's browser is told, and what it may say.

Nothing here tells A from B: pairs and clips go by names that only the votes file's
secret links to them, and answers are "left" and "right". (A clip's bytes are sent as they
are; what an mp4 of another program says of itself, a title say, only a browser's developer
tools would show.)
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from pathlib import Path

from videojam_jax.vote.folders import Pair
from videojam_jax.vote.order import SIDES, a_side, show_order
from videojam_jax.vote.questions import NAMES, QUESTIONS
from videojam_jax.vote.raters import rater_key
from videojam_jax.vote.store import SKIP, Votes


class Refused(Exception):
    """A request that is not taken; nothing was changed.

    Attributes:
      status: of HTTP: 400 for one that makes no sense, 409 for one that came too late.
    """

    def __init__(self, message: str, status: int = 400):
        super().__init__(message)
        self.status = status


class Ballot:
    """The pairs as each rater sees them, over an open votes file.

    Attributes:
      clips: from the name that a browser knows a file by to the file.
    """

    def __init__(self, pairs: Sequence[Pair], votes: Votes, seed: int):
        self._pairs = pairs
        self._votes = votes
        self._seed = seed
        self._places = {self._opaque("pair", place): place for place in range(len(pairs))}
        self._names = {place: name for name, place in self._places.items()}
        self.clips: dict[str, Path] = {}
        self._shown: dict[tuple[int, str], dict[str, str | None]] = {}
        for place, pair in enumerate(pairs):
            # A gif for one of them alone would tell them apart.
            gifs = pair.a.gif is not None and pair.b.gif is not None
            for which, clip in (("a", pair.a), ("b", pair.b)):
                files = {"mp4": clip.mp4, "gif": clip.gif if gifs else None}
                shown = self._shown[place, which] = {}
                for kind, path in files.items():
                    name = f"{self._opaque('clip', place, which, kind)}.{kind}"
                    shown[kind] = f"clip/{name}" if path else None
                    if path:
                        self.clips[name] = path

    def enter(self, name) -> dict:
        """A rater comes, for the first time or again; the state, as `state` gives it.

        Raises:
          Refused: what was given is not a name.
        """
        if not isinstance(name, str):
            raise Refused("rater: must be a name")
        try:
            return self.state(self._votes.enter(name))
        except ValueError as error:
            raise Refused(f"rater: {error}") from None

    def state(self, rater) -> dict:
        """Where a rater stands, as JSON values.

        Returns:
          `rater` the name, `total` pairs, `done` and `skipped` ones, `undo` whether there
          is anything to take back, the `questions`, and the `pair` to be answered now
          (None at the end): its `id`, `number` from 1, `prompt`, the clips `left` and
          `right` as addresses `mp4` and `gif` (or None), and the `answers` given.

        Raises:
          Refused: nobody of that name has come.
        """
        rater = self._known(rater)
        standing = self._votes.standing(rater)
        order = self._order(rater)
        skipped = [place for place in order if (place, SKIP) in standing]
        open_places = [place for place in order if not _is_finished(standing, place)]
        return {
            "rater": self._votes.rater_name(rater),
            "total": len(order),
            "done": len(order) - len(open_places) - len(skipped),
            "skipped": len(skipped),
            "undo": bool(standing),
            "questions": [vars(question) for question in QUESTIONS],
            "pair": self._show(rater, order, open_places[0], standing) if open_places else None,
        }

    def vote(self, rater, pair, question, side) -> dict:
        """Keeps an answer to the rater's current pair; the new state.

        Raises:
          Refused: an unknown rater, pair, question or side; a pair that is not current.
        """
        rater, place = self._known(rater), self._place(pair)
        if question not in NAMES:
            raise Refused(f"question: must be one of {', '.join(NAMES)}")
        if side not in SIDES:
            raise Refused(f"side: must be one of {', '.join(SIDES)}")
        of_a = self._a_side(rater, place)
        with self._votes.transaction():
            self._check_current(rater, place)
            self._votes.add(rater, place, question, "a" if side == of_a else "b", of_a)
        return self.state(rater)

    def skip(self, rater, pair) -> dict:
        """Leaves the rater's current pair without an answer; the new state.

        Raises:
          Refused: an unknown rater or pair, or a pair that is not current.
        """
        rater, place = self._known(rater), self._place(pair)
        with self._votes.transaction():
            self._check_current(rater, place)
            self._votes.add(rater, place, SKIP, SKIP, self._a_side(rater, place))
        return self.state(rater)

    def undo(self, rater) -> dict:
        """Takes back what the rater did last, if anything; the new state.

        Raises:
          Refused: an unknown rater.
        """
        rater = self._known(rater)
        self._votes.take_back(rater)
        return self.state(rater)

    def _show(self, rater, order, place, standing) -> dict:
        of_a = self._a_side(rater, place)
        of_b = _other(of_a)
        answers = {
            question: of_a if standing[place, question] == "a" else of_b
            for question in NAMES
            if (place, question) in standing
        }
        return {
            "id": self._names[place],
            "number": order.index(place) + 1,
            "prompt": self._pairs[place].prompt,
            # In the order of the page: which is named first must not tell either.
            **{side: self._shown[place, "a" if side == of_a else "b"] for side in SIDES},
            "answers": answers,
        }

    def _known(self, rater) -> str:
        try:
            key = rater_key(rater) if isinstance(rater, str) else ""
        except ValueError:
            key = ""
        if not key or self._votes.rater_name(key) is None:
            raise Refused("rater: nobody of that name has come; give a name first")
        return key

    def _place(self, pair) -> int:
        place = self._places.get(pair) if isinstance(pair, str) else None
        if place is None:
            raise Refused("pair: there is no such pair")
        return place

    def _check_current(self, rater: str, place: int) -> None:
        standing = self._votes.standing(rater)
        left = (other for other in self._order(rater) if not _is_finished(standing, other))
        if next(left, None) != place:
            raise Refused("pair: was finished before, in another window perhaps", 409)

    def _order(self, rater: str) -> list[int]:
        keys = [(pair.prompt, pair.number) for pair in self._pairs]
        return show_order(self._seed, rater, keys)

    def _a_side(self, rater: str, place: int) -> str:
        pair = self._pairs[place]
        return a_side(self._seed, rater, (pair.prompt, pair.number))

    def _opaque(self, *what) -> str:
        """A name from which nothing can be learnt, the same after a restart."""
        message = json.dumps(what).encode()
        return hmac.new(self._votes.secret, message, hashlib.sha256).hexdigest()[:24]


def _other(side: str) -> str:
    return SIDES[1 - SIDES.index(side)]


def _is_finished(standing: dict[tuple[int, str], str], place: int) -> bool:
    return (place, SKIP) in standing or all((place, question) in standing for question in NAMES)
