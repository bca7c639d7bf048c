"""Raters: what their names are compared by, and how far they agree beyond what chance gives."""

import dataclasses
import math
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

LONGEST_NAME = 60


def rater_key(name: str) -> str:
    """A rater's name as it is compared: "Anna" and " anna" are one rater.

    >>> rater_key("  Anna  Li ")
    'anna li'

    Raises:
      ValueError: empty, too long, or with characters that cannot be seen.
    """
    key = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    if not key or len(key) > LONGEST_NAME:
        raise ValueError(f"a name has 1 to {LONGEST_NAME} letters")
    if not key.replace(" ", "").isprintable():
        raise ValueError("a name is made of characters that can be seen")
    return key


@dataclasses.dataclass(frozen=True)
class RaterAgreement:
    """Of one question, over the pairs that at least two raters answered.

    Attributes:
      pairs: how many those are.
      unanimous: share of them on which all their raters said the same; NaN for none.
      alpha: Krippendorff's, see `krippendorff_alpha`.
    """

    pairs: int
    unanimous: float
    alpha: float


def rater_agreement(units: Iterable[Sequence[Hashable]]) -> RaterAgreement:
    """Agreement of the answers to each pair.

    >>> rater_agreement([("a", "a"), ("a", "b"), ("b",), ("b", "b", "b")])
    RaterAgreement(pairs=3, unanimous=0.6666666666666666, alpha=0.5)

    Args:
      units: for each pair the answers it was given, one a rater, in any order.
    """
    shared = [unit for unit in units if len(unit) > 1]
    same = sum(len(set(unit)) == 1 for unit in shared)
    share = same / len(shared) if shared else math.nan
    return RaterAgreement(len(shared), share, krippendorff_alpha(shared))


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float:
    """Krippendorff's alpha for answers without order, where any may be missing.

        alpha = 1 - D_o / D_e
        D_o = 1/n sum_u sum_{i != j} [answer_ui differs from answer_uj] / (m_u - 1)
        D_e = 1/(n (n - 1)) sum_{c != k} n_c n_k

    over the units `u` with `m_u >= 2` answers, `n` answers in all, `n_c` of them `c`.
    1: all agree; 0: as two answers drawn from the whole heap do; negative: less than that.
    NaN where all answers are the same or none can be compared: then agreement cannot be
    told from chance. Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability".

    >>> round(krippendorff_alpha(zip("0100000010", "1110010000")), 3)  # his example B
    0.095
    """
    counts: Counter[Hashable] = Counter()
    differing = 0.0
    for unit in units:
        if len(unit) < 2:
            continue
        here = Counter(unit)
        counts += here
        unlike = len(unit) ** 2 - sum(count**2 for count in here.values())
        differing += unlike / (len(unit) - 1)
    n = counts.total()
    expected = n**2 - sum(count**2 for count in counts.values())
    return 1 - (n - 1) * differing / expected if expected else math.nan
