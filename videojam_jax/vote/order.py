"""What a rater sees where: a fixed function of seed, rater and pair.

So a page that is loaded again, in another browser or after the server was stopped,
shows the same; and two raters see different orders and sides.
"""

import hashlib
import json
from collections.abc import Sequence

SIDES = ("left", "right")
Key = tuple[str, int]  # a prompt and a number


def a_side(seed: int, rater: str, key: Key) -> str:
    """The side on which this rater sees A's clip: a fair coin.

    >>> sides = [a_side(0, "anna", ("a ball falls", i)) for i in range(1000)]
    >>> sides[:3], sides.count("left")
    (['right', 'right', 'right'], 494)
    """
    return SIDES[_draw("side", seed, rater, key)[0] & 1]


def show_order(seed: int, rater: str, keys: Sequence[Key]) -> list[int]:
    """The places of `keys` in the order in which this rater sees them: a fair shuffle.

    >>> show_order(0, "anna", [("a ball falls", i) for i in range(6)])
    [0, 1, 4, 3, 5, 2]
    """
    draws = [_draw("order", seed, rater, key) for key in keys]
    return sorted(range(len(keys)), key=draws.__getitem__)


def _draw(what: str, seed: int, rater: str, key: Key) -> bytes:
    return hashlib.sha256(json.dumps([what, seed, rater, *key]).encode()).digest()
