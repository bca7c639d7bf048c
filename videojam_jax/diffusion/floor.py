"""The linear floor: what a half of the loss comes to where nothing but each token itself is known.

A token of one half is a vector `x1` (patch volume x latent channels). Who knows its mean and
covariance, and of a sample nothing but this token's own noisy reading `x_t` and `t`, can do no
better than affinely in `x_t`, as far as mean and covariance tell. That is the floor of one token
alone: a model that uses the other tokens, the text and what is not Gaussian of the data should
end well below; one that ends above has learned nothing of that half.
"""

import numpy as np
from jaxtyping import Float

from videojam_jax.diffusion.loss import LossOptions
from videojam_jax.diffusion.path import time_quadrature


def principal_variances(tokens: Float[np.ndarray, "n f"]) -> Float[np.ndarray, " f"]:
    """The variances `e` of tokens along their principal components, float64, ascending.

        Cov(x1) = E diag(e) E'

    With few more tokens than features, small ones come out too small.

    >>> principal_variances(np.array([[3.0, 1.0], [1.0, 1.0], [-1.0, 1.0], [-3.0, 1.0]])).tolist()
    [0.0, 5.0]
    """
    centred = tokens - tokens.mean(0)
    covariance = (centred.T @ centred).astype(np.float64) / len(tokens)
    return np.linalg.eigvalsh(covariance).clip(min=0.0)


def linear_error(
    variances: Float[np.ndarray, " f"], t: Float[np.ndarray, " n"], sigma_min: float = 0.0
) -> Float[np.ndarray, "n f"]:
    """The mean squared error of the best affine guess of a velocity from its `x_t`, at each `t`.

    With `x_t = t x1 + a x0` and `v = x1 - (1 - sigma_min) x0`, `a = 1 - (1 - sigma_min) t`, a
    component of variance `e` under unit noise has

        Var(v) - Cov(v, x_t)^2 / Var(x_t)
            = e + (1 - sigma_min)^2 - (t e - (1 - sigma_min) a)^2 / (t^2 e + a^2)
            = e / (t^2 e + a^2)

    The second line is the first: `(x1, x0) -> (x_t, v)` has determinant -1, so
    `Var(x_t) Var(v) - Cov(v, x_t)^2 = e`. It is the data's variance at the noise and the noise's
    at the data.

    >>> linear_error(np.array([4.0]), np.array([0.0, 0.5, 1.0])).tolist()
    [[4.0], [3.2], [1.0]]
    """
    # A constant component has no error, and at t = 1, where nothing is left of the noise, 1.
    e = np.maximum(variances, np.finfo(np.float32).tiny)
    t = t[:, None]
    a = 1 - (1 - sigma_min) * t
    return e / (t**2 * e + a**2)


def appearance_floor(variances: Float[np.ndarray, " f"], options: LossOptions) -> float:
    """The linear floor of `appearance_loss`: `linear_error`, a mean over components and times.

    Dropped motion and text do not change it, which knows of neither.

    Args:
      variances: `principal_variances` of the video latents' tokens.

    Of latents that are constant, and of such as the noise itself, where it is pi / 2:

    >>> options = LossOptions(time_kind="uniform")
    >>> [round(appearance_floor(np.array([e]), options), 3) for e in (0.0, 1.0)]
    [0.0, 1.571]
    """
    t, weights = time_quadrature(options.time_kind, options.time_mean, options.time_std)
    return float(weights @ linear_error(variances, t, options.sigma_min).mean(1))


def motion_floor(variances: Float[np.ndarray, " f"], options: LossOptions) -> float:
    """The linear floor of `motion_loss`.

    As `appearance_floor` where the motion is given. A sample whose motion input was dropped, and
    which counts all the same (`motion_target_when_dropped`), has no reading: its best guess is
    the mean of `v`, its error `e + (1 - sigma_min)^2`.

    Args:
      variances: `principal_variances` of the motion latents' tokens.

    >>> options = LossOptions(p_drop_motion=1.0)
    >>> motion_floor(np.array([0.25, 0.75]), options)
    1.5
    """
    given = appearance_floor(variances, options)
    if not options.motion_target_when_dropped:
        return given
    dropped = float(variances.mean()) + (1 - options.sigma_min) ** 2
    return (1 - options.p_drop_motion) * given + options.p_drop_motion * dropped
