"""Means with intervals: how far a measured number can be trusted.

A measured quantity has a value for each training seed and each clip, `values[seed,
clip]`; all seeds sample the same captions from the same noise. Both are samples: of
the runs that could have been trained, and of the clips that could have been asked for.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float
from scipy import stats

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean and the interval that holds the true one with `CONFIDENCE`.

    Attributes:
      mean: what was measured.
      low, high: ends of the interval; not a number where nothing can be said.
      count: values that went into it.
    """

    mean: float
    low: float
    high: float
    count: int

    def within(self, low: float, high: float) -> "Estimate":
        """The same, but for what lies outside of a quantity's range."""
        return dataclasses.replace(
            self, low=float(np.clip(self.low, low, high)), high=float(np.clip(self.high, low, high))
        )

    def excludes(self, value: float) -> bool:
        """Whether the interval is all above or all below a value."""
        return self.low > value or self.high < value


def wilson(successes: int, n: int) -> Estimate:
    """A share and Wilson's score interval (1927).

    Holds for independent trials; never leaves [0, 1], and says something of 0 of n and n of n
    as well.

    >>> share = wilson(9, 10)
    >>> share.mean, round(share.low, 3), round(share.high, 3)
    (0.9, 0.596, 0.982)

    Raises:
      ValueError: `successes` is not in [0, n].
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials")
    if n == 0:
        return Estimate(math.nan, 0.0, 1.0, 0)
    interval = stats.binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high), n)


def mean_interval(values: Float[np.ndarray, "seeds clips"]) -> Estimate:
    """The mean over seeds and clips, and an interval over both.

    Seeds and clips are crossed random samples, `x[s, c] = mean + seed[s] + clip[c] + rest`.
    With `S` seeds and `C` clips and the mean squares `M` of that two-way layout,

        Var(mean) ~ (M_seeds + M_clips - M_rest) / (S C)

    (Cornfield and Tukey 1956); its degrees of freedom are Satterthwaite's (1946), of the
    two that are added. Where `M_rest` is the larger of them it is not subtracted, which
    makes the interval wider, never narrower. With one seed the interval is Student's over
    the clips, and says nothing of other trainings. With two that differ more than their
    clips do, it is wide, and still holds the truth in 9 of 10 cases rather than 19 of 20.

    Clips in which a value is missing (NaN) for any seed are left out for all.

    >>> interval = mean_interval(np.array([[1.0, 2.0, 3.0]]))
    >>> interval.mean, round(interval.low, 2), round(interval.high, 2), interval.count
    (2.0, -0.48, 4.48, 3)
    """
    values = values[:, np.isfinite(values).all(0)].astype(np.float64)
    seeds, clips = values.shape
    if clips == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    mean = float(values.mean())
    parts = _variance_parts(values)
    variance = sum(part for part, _ in parts)
    if not parts:
        return Estimate(mean, math.nan, math.nan, values.size)
    if variance <= 0:
        return Estimate(mean, mean, mean, values.size)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) * math.sqrt(variance)
    return Estimate(mean, mean - half, mean + half, values.size)


def _variance_parts(values: Float[np.ndarray, "seeds clips"]) -> list[tuple[float, int]]:
    """What adds up to the variance of the mean, each part with its degrees of freedom."""
    seeds, clips = values.shape
    of_clips, of_seeds = values.mean(0), values.mean(1)
    by_clips = float(of_clips.var(ddof=1)) / clips if clips > 1 else 0.0
    by_seeds = float(of_seeds.var(ddof=1)) / seeds if seeds > 1 else 0.0
    parts = []
    if clips > 1:
        parts.append((by_clips, clips - 1))
    if seeds > 1:
        parts.append((by_seeds, seeds - 1))
    if len(parts) < 2:
        return parts
    rest = values - of_clips - of_seeds[:, None] + values.mean()
    shared = float((rest**2).sum()) / ((seeds - 1) * (clips - 1)) / values.size
    # Both parts hold the rest once; the smaller of them gives it back.
    (small, small_degrees), large = sorted(parts)
    return [(max(small - shared, 0.0), small_degrees), large]


def difference(
    values: Float[np.ndarray, "seeds clips"], reference: Float[np.ndarray, "seeds clips"]
) -> Estimate:
    """The mean of `values - reference`, clip by clip and seed by seed.

    What both share (a hard caption, a seed's data order) falls out, so that far smaller
    differences are told from chance than by two intervals side by side.

    >>> one = np.array([[0.125, 0.5, 0.875, 0.25]])
    >>> difference(one + 0.25, one)
    Estimate(mean=0.25, low=0.25, high=0.25, count=4)
    """
    return mean_interval(values - reference)
