"""Where the sampler stops on its way: `S` steps are `S + 1` times from 0 to 1.

All are NumPy float64, computed once and outside of any trace.
"""

import numpy as np
from jaxtyping import Float

from videojam_jax.errors import UserError

EMULATE = 1000  # Movie Gen


def linear(steps: int) -> Float[np.ndarray, " steps_and_one"]:
    """Equal steps.

        f(i) = i / S

    >>> linear(4).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    _check_steps(steps)
    return np.arange(steps + 1) / steps


def linear_quadratic(steps: int, emulate: int = EMULATE) -> Float[np.ndarray, " steps_and_one"]:
    """Small equal steps at first, then steps that grow quadratically.

    The first half of the `S` steps are the first steps of a linear schedule with `N`
    steps, where the layout and the motion of a clip are decided; the rest leaves
    that line with the same slope and reaches 1. With `L = S / 2` (rounded down)
    and `tau = L / N`:

        f(i) = i tau / L                                          for i < L
        f(i) = a i^2 + b i + c                                    for i >= L
        delta = L - tau S,  a = delta / (L (S - L)^2),
        b = tau / L - 2 delta / (S - L)^2,  c = a L^2

    Movie Gen (arXiv 2410.13720, section 3.4.2, `N = 1000`). It is computed in the
    equal form `f(i) = i / N + (1 - S / N) ((i - L) / (S - L))^2` for `i >= L`, which
    holds for a single step (`L = 0`) too.

    Args:
      steps: `S`, at least 1.
      emulate: `N`, at least `S`; with `N = S` the schedule is linear.

    Raises:
      UserError: when `steps` is below 1 or `emulate` below `steps`.

    >>> linear_quadratic(4, emulate=8).tolist()
    [0.0, 0.125, 0.25, 0.5, 1.0]
    """
    _check_steps(steps)
    if emulate < steps:
        raise UserError(
            f"the linear-quadratic schedule of {steps} steps cannot emulate a linear one of "
            f"{emulate}; emulate at least as many steps as are taken"
        )
    i = np.arange(steps + 1)
    half = steps // 2
    beyond = np.maximum(i - half, 0) / (steps - half)
    times = i / emulate + (1 - steps / emulate) * beyond**2
    times[-1] = 1.0  # S / N + (1 - S / N), without the rounding
    return times


def shifted(steps: int, shift: float) -> Float[np.ndarray, " steps_and_one"]:
    """Equal steps, moved towards the noise (`shift > 1`) or the data (`shift < 1`).

    With `r = i / S` and the noise level `1 - t`:

        1 - f(i) = shift (1 - r) / (1 + (shift - 1) (1 - r))
        f(i) = r / (r + shift (1 - r))

    Stable Diffusion 3 (arXiv 2403.03206, equation 23) for a higher resolution, whose
    noise hides less; Wan samples so too. `shift = 1` is `linear`.

    Raises:
      UserError: when `steps` is below 1 or `shift` is not positive.

    >>> shifted(2, shift=3.0).tolist()
    [0.0, 0.25, 1.0]
    """
    _check_steps(steps)
    if not shift > 0:
        raise UserError(f"the schedule's shift is {shift}; it must be > 0 (1 is no shift)")
    r = np.arange(steps + 1) / steps
    return r / (r + shift * (1 - r))


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise UserError(f"a sampling schedule of {steps} steps is empty; use at least 1")
