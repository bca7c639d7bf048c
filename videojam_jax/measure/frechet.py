"""Frechet distance between two sets of clips, each taken as a Gaussian of its features.

    d = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))

with the means and covariances of the two sets (Dowson and Landau 1982; Heusel et al.
2017 for images). It has no unit, and it means nothing without its floor: two sets of
real clips have a distance above 0 as well, because they are finite.
"""

import numpy as np
from jaxtyping import Float

# A number that is nearly the same in all real clips is not blown up beyond this.
LEAST_SCALE = 1e-3


def frechet_distance(real: Float[np.ndarray, "n d"], other: Float[np.ndarray, "m d"]) -> float:
    """Distance of a set of clips from the real ones; 0 is ideal, and there is no worst.

    Each feature is measured in standard deviations of the real set first, so that all
    of them count alike, whatever their unit. So the two sets may not be exchanged;
    `gaussian_distance`, without that, is symmetric.

    Args:
      real: features, one row a real clip.
      other: features of the clips that are judged; their number may differ.

    Raises:
      ValueError: one of the sets is empty.
    """
    if not len(real) or not len(other):
        raise ValueError(f"a distance between {len(real)} real and {len(other)} other clips")
    scale = np.maximum(real.std(0, dtype=np.float64), LEAST_SCALE)
    one, two = (_gaussian((clips - real.mean(0)) / scale) for clips in (real, other))
    return gaussian_distance(*one, *two)


def frechet_floor(
    real: Float[np.ndarray, "n d"], size: int | None = None, draws: int = 50, seed: int = 0
) -> float:
    """The distance that real clips have from real clips: at or below it, sets look alike.

    Two disjoint sets of `size` clips are drawn from `real`, `draws` times; 95 % of
    their distances are at most the returned value.

    The distance of finite sets is biased upwards, about as `1 / n + 1 / m`. So give
    twice as many real clips as are compared for a fair floor; half of them (the
    default) makes it about twice too high, which errs on the side of "alike".

    Args:
      real: features of real clips, at least two.
      size: of each set; half of the real ones by default, and at most that.
      draws: how often.
      seed: of the draws.

    Raises:
      ValueError: `real` does not hold two sets of that size.
    """
    size = len(real) // 2 if size is None else size
    if not 1 <= size <= len(real) // 2:
        raise ValueError(f"two disjoint sets of {size} clips from {len(real)}")
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        order = rng.permutation(len(real))
        found.append(frechet_distance(real[order[:size]], real[order[size : 2 * size]]))
    return float(np.quantile(found, 0.95))


def gaussian_distance(
    mean: Float[np.ndarray, "d"],
    covariance: Float[np.ndarray, "d d"],
    other_mean: Float[np.ndarray, "d"],
    other_covariance: Float[np.ndarray, "d d"],
) -> float:
    """The squared Frechet (2-Wasserstein) distance of two Gaussians, symmetric, 0 or more.

    The trace of `(S1 S2)^(1/2)` is taken as the sum of the roots of the eigenvalues of
    the symmetric `S1^(1/2) S2 S1^(1/2)`, which are those of `S1 S2`. So it is real and
    finite for covariances without full rank too, as of fewer clips than features.
    """
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = root @ other_covariance @ root
    common = np.sqrt(np.maximum(np.linalg.eigvalsh((product + product.T) / 2), 0)).sum()
    apart = ((mean - other_mean) ** 2).sum()
    spread = np.trace(covariance) + np.trace(other_covariance) - 2 * common
    return float(apart + max(0.0, spread))


def _gaussian(
    features: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d d"]]:
    """Mean and covariance (of the sample itself, so that one clip has none)."""
    features = features.astype(np.float64)
    mean = features.mean(0)
    return mean, (features - mean).T @ (features - mean) / len(features)
