"""The straight path from noise to data, and the times at which it is trained.

One convention holds in the whole package: `t = 0` is noise, `t = 1` is data.
`x1` is a clean latent, `x0` the noise of the same shape, `x_t` the point
between them. `d1`, `d0` and `d_t` are the same for motion.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp  # noqa: F401 (the examples use it)
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy import special

from videojam_jax.errors import UserError

# `velocity(x_t, d_t, t, text) -> (u_x, u_d)`: latents [b, t, h, w, c], times [b], captions
# as `text.Text`. For a base model, which has no motion, `d_t` and `u_d` are None.
Velocity = Callable[..., tuple[Array, Array | None]]


def interpolate(
    x1: Float[Array, "b *shape"],
    x0: Float[Array, "b *shape"],
    t: Float[Array, " b"],
    sigma_min: float = 0.0,
) -> Float[Array, "b *shape"]:
    """The point at time `t` of the straight path from noise `x0` to data `x1`.

        x_t = t x1 + (1 - (1 - sigma_min) t) x0

    With `sigma_min = 0` this is `t x1 + (1 - t) x0` of VideoJAM (arXiv 2502.02492,
    section 4.1); the general form is that of Movie Gen (arXiv
    2410.13720, section 3.1.2), where `sigma_min = 1e-5` leaves a trace of noise
    on the data.

    Args:
      x1: clean latents.
      x0: noise of the same shape.
      t: one time in [0, 1] for each sample.
      sigma_min: standard deviation of the noise that is left at `t = 1`.

    >>> x1, x0 = jnp.full((2, 3), 10.0), jnp.zeros((2, 3))
    >>> print(interpolate(x1, x0, jnp.array([0.25, 1.0])))
    [[ 2.5  2.5  2.5]
     [10.  10.  10. ]]
    """
    t = _per_sample(t, x1.ndim)
    return t * x1 + (1 - (1 - sigma_min) * t) * x0


def target_velocity(
    x1: Float[Array, "b *shape"],
    x0: Float[Array, "b *shape"],
    sigma_min: float = 0.0,
) -> Float[Array, "b *shape"]:
    """The velocity of the straight path, the same at every time.

        v = d x_t / d t = x1 - (1 - sigma_min) x0

    VideoJAM (arXiv 2502.02492, section 4.1) for `sigma_min = 0`, Movie Gen (arXiv
    2410.13720, section 3.1.2) in general.

    >>> print(target_velocity(jnp.array([[3.0]]), jnp.array([[1.0]])))
    [[2.]]
    """
    return x1 - (1 - sigma_min) * x0


def sample_time(
    key: PRNGKeyArray,
    n: int,
    kind: str,
    mean: float,
    std: float,
) -> Float[Array, " n"]:
    """`n` training times in [0, 1].

    `logit_normal`: `t = 1 / (1 + exp(-(mean + std z)))` with `z ~ N(0, 1)`, as Movie
    Gen trains (arXiv 2410.13720, section 3.1.2, after arXiv 2403.03206, section
    3.1); it puts more weight on the middle of the path, and with `mean > 0` on
    the side of the data. `uniform`: `t ~ U[0, 1)`; `mean` and `std` are unused.

    Raises:
      UserError: for an unknown `kind`, or a `std` that is not positive.

    >>> t = sample_time(jax.random.key(0), 1000, "logit_normal", 0.0, 1.0)
    >>> bool(((t > 0) & (t < 1)).all()), abs(float(t.mean()) - 0.5) < 0.03
    (True, True)
    """
    _check_times(kind, std)
    if kind == "uniform":
        return jax.random.uniform(key, (n,))
    return jax.nn.sigmoid(mean + std * jax.random.normal(key, (n,)))


def time_quadrature(
    kind: str, mean: float, std: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Times and weights whose sums are means over the times of `sample_time`.

        E f(t) ~ sum_i w_i f(t_i),  sum_i w_i = 1

    The trapezoidal rule over the logit of `t`, which is normal or, where `t` is uniform,
    logistic. There the functions at hand are smooth up to both ends, however steep they are in
    `t`, and the rule converges faster than any power of its step. NumPy float64.

    Raises:
      UserError: as `sample_time`.

    >>> t, w = time_quadrature("uniform", 0.0, 1.0)
    >>> round(float(w @ t), 6), round(float(w @ t**2), 6)
    (0.5, 0.333333)
    """
    _check_times(kind, std)
    if kind == "uniform":
        t = special.expit(np.linspace(-30.0, 30.0, 1201))
        weights = t * (1 - t)
    else:
        z = np.linspace(-8.0, 8.0, 401)
        t, weights = special.expit(mean + std * z), np.exp(-(z**2) / 2)
    return t, weights / weights.sum()


def _check_times(kind: str, std: float) -> None:
    if kind not in ("logit_normal", "uniform"):
        raise UserError(f"time sampling {kind!r} is unknown; use 'logit_normal' or 'uniform'")
    if kind == "logit_normal" and not std > 0:
        raise UserError(f"the standard deviation of logit-normal times is {std}; it must be > 0")


def _per_sample(values: Float[Array, " b"], ndim: int) -> Array:
    """`[b]` -> `[b, 1, 1, ...]` with `ndim` axes, to broadcast over a batch of latents."""
    return values.reshape(values.shape + (1,) * (ndim - 1))
