"""The reverse ODE: from noise to a clip, by a schedule x a solver x a velocity function.

A solver takes one step of `d y / d t = field(y, t)` for any pytree `y`; here `y` is the
pair of video and motion latents. A schedule is the array of times. Guidance is in
the velocity function (`guidance.guided`).
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from videojam_jax.diffusion.guidance import Branches, combine, guided
from videojam_jax.diffusion.path import Velocity, interpolate
from videojam_jax.errors import UserError
from videojam_jax.text import Text

State = TypeVar("State")
Field = Callable[[State, Array], State]
Solver = Callable[[Field, State, Array, Array], State]


def euler(field: Field, y: State, t: Float[Array, ""], dt: Float[Array, ""]) -> State:
    """One step of Euler's method, order 1, one evaluation.

        y' = y + dt f(y, t)

    VideoJAM samples so with 100 steps (arXiv 2502.02492, implementation details), Movie
    Gen with 50 (arXiv 2410.13720, section 3.4.2).

    >>> float(euler(lambda y, t: y, jnp.array(1.0), jnp.array(0.0), jnp.array(0.5)))
    1.5
    """
    return _move(y, dt, field(y, t))


def midpoint(field: Field, y: State, t: Float[Array, ""], dt: Float[Array, ""]) -> State:
    """One step of the midpoint method, order 2, two evaluations.

        y' = y + dt f(y + dt/2 f(y, t), t + dt/2)

    >>> float(midpoint(lambda y, t: y, jnp.array(1.0), jnp.array(0.0), jnp.array(0.5)))
    1.625
    """
    half = _move(y, dt / 2, field(y, t))
    return _move(y, dt, field(half, t + dt / 2))


def heun(field: Field, y: State, t: Float[Array, ""], dt: Float[Array, ""]) -> State:
    """One step of Heun's method, order 2, two evaluations.

        y' = y + dt/2 (f(y, t) + f(y + dt f(y, t), t + dt))

    >>> float(heun(lambda y, t: y, jnp.array(1.0), jnp.array(0.0), jnp.array(0.5)))
    1.625
    """
    start = field(y, t)
    end = field(_move(y, dt, start), t + dt)
    return _move(_move(y, dt / 2, start), dt / 2, end)


SOLVERS: dict[str, Solver] = {"euler": euler, "midpoint": midpoint, "heun": heun}


def sample(
    segments: Sequence[tuple[int, Velocity]],
    x0: Float[Array, "b *shape"],
    d0: Float[Array, "b *shape"] | None,
    text: Text,
    times: Float[Array, " steps_and_one"] | Float[np.ndarray, " steps_and_one"],
    solver: Solver = euler,
) -> tuple[Float[Array, "b *shape"], Float[Array, "b *shape"] | None]:
    """Follow the velocity from the first to the last of `times`.

        d x / d t = u_x([x, d], y, t),  d d / d t = u_d([x, d], y, t)

    VideoJAM (arXiv 2502.02492, section 4.1). The segments follow each other, each as one
    `lax.scan`, so that late steps may use a cheaper rule than early ones. To be
    called under `jax.jit`. The state is float32.

    Args:
      segments: `(number of steps, velocity function)`, as from `two_segments`; the
        numbers sum to the steps of `times`.
      x0, d0: where to start: noise when `times[0]` is 0, a noised clip otherwise.
        `d0` is None for a base model.
      text: the encoded captions.
      times: increasing, in [0, 1], as from `schedule.py`.
      solver: `euler`, `midpoint` or `heun`.

    Returns:
      The latents `(x, d)` at the last of `times`.

    Raises:
      UserError: when the segments have more or fewer steps than `times`.

    >>> straight = lambda x, d, t, text: (jnp.ones_like(x), None)
    >>> text = Text(jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool))
    >>> x, d = sample([(4, straight)], jnp.zeros((1, 2)), None, text, jnp.linspace(0, 1, 5))
    >>> print(x, d)
    [[1. 1.]] None
    """
    steps = sum(count for count, _ in segments)
    if steps != len(times) - 1:
        raise UserError(
            f"the segments have {steps} sampling steps, but the schedule has {len(times) - 1}"
        )
    times = jnp.asarray(times, jnp.float32)
    starts, lengths = times[:-1], jnp.diff(times)
    state = jax.tree.map(lambda latent: latent.astype(jnp.float32), (x0, d0))

    done = 0
    for count, velocity in segments:
        field = _field(velocity, text)

        def advance(state, step, field=field):
            t, dt = step
            return solver(field, state, t, dt), None

        chosen = slice(done, done + count)
        state, _ = jax.lax.scan(advance, state, (starts[chosen], lengths[chosen]))
        done += count
    return state


def two_segments(
    velocity: Velocity,
    rule: tuple[Branches, Branches],
    steps: int,
    early_steps: int,
    null: Text,
) -> list[tuple[int, Velocity]]:
    """The segments of a guidance rule: one set of branches early, another late.

    VideoJAM applies Inner-Guidance in the first 50 of 100 steps, where the motion is
    decided, and text guidance alone in the rest (arXiv 2502.02492, implementation
    details). Where both are the same there is one segment.

    Args:
      velocity: the model.
      rule: the branches of the early and of the late steps, as from `guidance.RULES`.
      steps: number of sampling steps.
      early_steps: how many of them are early.
      null: the encoded empty caption.

    Raises:
      UserError: when `early_steps` is not in [0, steps].

    >>> from videojam_jax.diffusion.guidance import RULES
    >>> null = Text(jnp.zeros(1, jnp.int32), jnp.ones(1, bool))
    >>> still = lambda x_t, d_t, t, text: (0 * x_t, 0 * d_t)
    >>> def counts(name):
    ...     rule = RULES[name](5.0, 3.0)
    ...     return [n for n, _ in two_segments(still, rule, 100, 50, null)]
    >>> counts("videojam"), counts("no_inner_guidance")
    ([50, 50], [100])
    """
    if not 0 <= early_steps <= steps:
        raise UserError(f"{early_steps} early steps of {steps}; use a number from 0 to {steps}")
    early, late = rule
    if combine(early) == combine(late):
        early_steps = steps
    segments = ((early_steps, early), (steps - early_steps, late))
    return [(count, guided(velocity, branches, null)) for count, branches in segments if count > 0]


def initial_noise(
    key: PRNGKeyArray,
    rows: Int[Array, " b"],
    latent_shape: tuple[int, ...],
    motion: bool = True,
) -> tuple[Float[Array, "b *shape"], Float[Array, "b *shape"] | None]:
    """The noise that clips number `rows` start from: `x0, d0 ~ N(0, I)`, independent.

    A clip's noise depends on the key and its own number alone: not on how many clips
    are sampled beside it, and its `x0` not on whether there is motion. So base and
    joint model can be compared from the same start.

    Args:
      key: from the seed of the run.
      rows: the number of each clip in the run.
      latent_shape: `(t, h, w, c)` of one clip.
      motion: whether `d0` is wanted; otherwise it is None.

    >>> x0, d0 = initial_noise(jax.random.key(0), jnp.array([7, 7]), (4, 8, 8, 2))
    >>> x0.shape, bool((x0[0] == x0[1]).all()), bool((x0 == d0).any())
    ((2, 4, 8, 8, 2), True, False)
    """

    def one(row):
        x_key, d_key = jax.random.split(jax.random.fold_in(key, row))
        x0 = jax.random.normal(x_key, latent_shape)
        return x0, jax.random.normal(d_key, latent_shape) if motion else None

    return jax.vmap(one)(rows)


def read_motion(
    velocity: Velocity,
    x_t: Float[Array, "b *shape"],
    t: Float[Array, " b"],
    text: Text,
    d0: Float[Array, "b *shape"],
    sigma_min: float = 0.0,
) -> Float[Array, "b *shape"]:
    """The motion half of a state of which only the video is there, as a joint model reads it.

        u_d = u+([x_t, 0], y, t)_d,   d_t = t u_d + (1 - (1 - sigma_min) t) d0

    For a joint model that goes on where one without motion has stopped. With its motion input
    dropped it predicts `E[d1 - (1 - sigma_min) d0 | x_t, y] = E[d1 | x_t, y]`, since the motion's
    noise is independent of the video and has zero mean; `d_t` is that clip's point on its own
    path at time `t`. Our choice, not the paper's: it is the mean of what the motion may be, so
    that where the video leaves it open the motion is weaker than any true one. It takes a model
    that was trained to predict the motion of samples whose motion was dropped
    (`LossOptions.motion_target_when_dropped`).

    Args:
      velocity: the joint model, without guidance.
      x_t: the video half of the state.
      t: one time a sample.
      text: the encoded captions.
      d0: the noise that the motion would have started from.
      sigma_min: as in `path.interpolate`.

    >>> reads = lambda x_t, d_t, t, text: (x_t, 4.0 * x_t + d_t)
    >>> text = Text(jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool))
    >>> x_t, d0 = jnp.array([[2.0]]), jnp.array([[1.0]])
    >>> print(read_motion(reads, x_t, jnp.array([0.25]), text, d0))  # 8 / 4 + 3 / 4
    [[2.75]]
    """
    _, u_d = velocity(x_t, jnp.zeros_like(d0), t, text)
    return interpolate(u_d.astype(d0.dtype), d0, t, sigma_min)


def _field(velocity: Velocity, text: Text) -> Field:
    """The velocity function as the right-hand side of an ODE in the pair `(x, d)`."""

    def field(state, t):
        x, d = state
        u_x, u_d = velocity(x, d, jnp.full(x.shape[:1], t), text)
        return u_x, u_d

    return field


def _move(y: State, dt: Array, velocity: State) -> State:
    """`y + dt velocity` for every array of a pytree."""
    return jax.tree.map(lambda a, v: a + dt * v, y, velocity)
