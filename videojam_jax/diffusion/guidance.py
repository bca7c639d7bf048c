"""Guidance: the sampler follows a weighted sum of the model's answers.

Every rule of the paper is a few branches. A branch asks the model once, with or
without text, with or without motion, and carries a weight; the weights of a rule
sum to 1. `guided` turns a rule into a velocity function again, so that the
sampler does not know whether it is guided.

Below, `u([x, d], y)` is the model's velocity, `none` the empty caption and a
motion of `0` the dropped motion. The rules act on both halves of the output.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat
from jaxtyping import Array, Float

from videojam_jax.diffusion.conditions import replace_text, zero_motion
from videojam_jax.diffusion.path import Velocity
from videojam_jax.errors import UserError
from videojam_jax.text import Text


@dataclasses.dataclass(frozen=True)
class Branch:
    """One question to the model and the weight of its answer."""

    weight: float
    drop_text: bool = False
    drop_motion: bool = False


Branches = tuple[Branch, ...]


def inner_guidance(w_text: float, w_motion: float) -> Branches:
    """Inner-Guidance: towards the text, and towards the model's own motion.

        p~([x, d] | y)  ~  p([x, d] | y) p(y | [x, d])^w1 p(d | x, y)^w2
        u~ = (1 + w1 + w2) u([x, d], y) - w1 u([x, d], none) - w2 u([x, 0], y)

    VideoJAM (arXiv 2502.02492, section 4.3); there `w1 = 5`, `w2 = 3`. The second line
    follows from the first by Bayes' rule, `p(y | [x, d]) ~ p([x, d] | y) / p([x, d])` and
    `p(d | x, y) = p([x, d] | y) / p(x | y)`, where dropped motion stands for `p(x | y)`;
    scores turn into velocities because the weights sum to 1.

    Args:
      w_text: `w1`.
      w_motion: `w2`.

    >>> [branch.weight for branch in inner_guidance(5.0, 3.0)]
    [9.0, -5.0, -3.0]
    """
    return (
        Branch(1 + w_text + w_motion),
        Branch(-w_text, drop_text=True),
        Branch(-w_motion, drop_motion=True),
    )


def text_guidance(w_text: float) -> Branches:
    """Classifier-free guidance by the text alone.

        u~ = (1 + w1) u([x, d], y) - w1 u([x, d], none)

    Ho and Salimans (arXiv 2207.12598); `inner_guidance` with `w2 = 0`.

    >>> [branch.weight for branch in text_guidance(5.0)]
    [6.0, -5.0]
    """
    return (Branch(1 + w_text), Branch(-w_text, drop_text=True))


def without_motion(w_text: float) -> Branches:
    """Text guidance of a model that is never shown its motion.

        u~ = (1 + w1) u([x, 0], y) - w1 u([x, 0], none)

    The row "w/o optical flow" of VideoJAM (arXiv 2502.02492, Table 3). With `d = 0`
    the term of `w2` in `inner_guidance` cancels.

    >>> all(branch.drop_motion for branch in without_motion(5.0))
    True
    """
    return (
        Branch(1 + w_text, drop_motion=True),
        Branch(-w_text, drop_text=True, drop_motion=True),
    )


def ip2p(s_motion: float, s_text: float) -> Branches:
    """The guidance of InstructPix2Pix, with motion in place of its image.

        u~ = u([x, 0], none) + s_d (u([x, d], none) - u([x, 0], none))
                             + s_y (u([x, d], y) - u([x, d], none))

    Brooks et al. (arXiv 2211.09800, equation 3); the row "IP2P guidance" of VideoJAM
    (arXiv 2502.02492, Table 3). Scales of 1 are the plain model.

    Args:
      s_motion: `s_d`.
      s_text: `s_y`.

    >>> [branch.weight for branch in ip2p(s_motion=4.0, s_text=6.0)]
    [6.0, -2.0, -3.0]
    """
    return (
        Branch(s_text),
        Branch(s_motion - s_text, drop_text=True),
        Branch(1 - s_motion, drop_text=True, drop_motion=True),
    )


# The rows of the ablation (VideoJAM, Table 3): `(w_text, w_motion)` -> the branches of the
# early steps, in which motion is decided, and those of the late steps. With both
# weights 0 every row but "no_optical_flow" is the plain model; that is why the scales
# of IP2P, whose values the paper does not give, are one more than the weights.
RULES: dict[str, Callable[[float, float], tuple[Branches, Branches]]] = {
    "videojam": lambda w_text, w_motion: (
        inner_guidance(w_text, w_motion),
        text_guidance(w_text),
    ),
    "no_text_guidance": lambda w_text, w_motion: (
        inner_guidance(0.0, w_motion),
        text_guidance(0.0),
    ),
    "no_inner_guidance": lambda w_text, w_motion: (
        text_guidance(w_text),
        text_guidance(w_text),
    ),
    "no_optical_flow": lambda w_text, w_motion: (
        without_motion(w_text),
        without_motion(w_text),
    ),
    "ip2p": lambda w_text, w_motion: (
        ip2p(s_motion=1 + w_motion, s_text=1 + w_text),
        text_guidance(w_text),
    ),
    "dit": lambda w_text, w_motion: (
        text_guidance(w_text),
        text_guidance(w_text),
    ),
}


def guided(velocity: Velocity, branches: Sequence[Branch], null: Text) -> Velocity:
    """The velocity function that follows `sum_k weight_k u_k`.

    All branches go through the model as one batch of `b k` samples, and are summed in
    float32. Branches that ask the same are merged and those of weight 0 are not
    evaluated. For a base model (`d_t` is None) a branch with and one without motion
    are the same question, so every rule becomes its text guidance.

    Args:
      velocity: the model (see `path.Velocity`).
      branches: the rule; its weights sum to 1.
      null: the encoded empty caption, padded as the texts are.

    Raises:
      UserError: when the weights do not sum to 1.

    >>> asks_text = lambda x_t, d_t, t, text: (text.tokens[:, :1] + 0 * x_t, d_t)
    >>> null = Text(jnp.array([1]), jnp.array([True]))
    >>> rule = guided(asks_text, text_guidance(5.0), null)
    >>> x_t = d_t = jnp.zeros((1, 1))
    >>> text = Text(jnp.array([[2]]), jnp.array([[True]]))
    >>> u_x, u_d = rule(x_t, d_t, jnp.zeros(1), text)
    >>> float(u_x[0, 0])  # 6 * 2 - 5 * 1
    7.0
    """
    with_motion = combine(branches)
    without = combine([dataclasses.replace(one, drop_motion=False) for one in branches])

    def follow(
        x_t: Float[Array, "b *shape"],
        d_t: Float[Array, "b *shape"] | None,
        t: Float[Array, " b"],
        text: Text,
    ) -> tuple[Float[Array, "b *shape"], Float[Array, "b *shape"] | None]:
        chosen = without if d_t is None else with_motion
        b = x_t.shape[0]

        # The branches of one sample lie side by side, (b k) and not (k b): a batch that is
        # split over devices then stays where it is.
        def each_branch(array: Array) -> Array:
            return repeat(array, "b ... -> (b k) ...", k=len(chosen))

        drop_text = jnp.asarray(np.tile([one.drop_text for one in chosen], b))
        drop_motion = jnp.asarray(np.tile([one.drop_motion for one in chosen], b))
        text = replace_text(drop_text, jax.tree.map(each_branch, text), null)
        d_t = None if d_t is None else zero_motion(drop_motion, each_branch(d_t))
        u_x, u_d = velocity(each_branch(x_t), d_t, each_branch(t), text)
        return _weighted_sum(chosen, u_x), None if u_d is None else _weighted_sum(chosen, u_d)

    return follow


def combine(branches: Sequence[Branch]) -> Branches:
    """The same rule with equal branches merged and those of weight 0 left out.

    Raises:
      UserError: when the weights do not sum to 1.

    >>> combine([Branch(2.0), Branch(-1.0, drop_text=True), Branch(0.0, drop_motion=True)])
    (Branch(weight=2.0, drop_text=False, drop_motion=False), \
Branch(weight=-1.0, drop_text=True, drop_motion=False))
    """
    weights: dict[tuple[bool, bool], float] = {}
    for one in branches:
        asked = (one.drop_text, one.drop_motion)
        weights[asked] = weights.get(asked, 0.0) + one.weight
    total = sum(weights.values())
    if not abs(total - 1) <= 1e-6 * (1 + sum(map(abs, weights.values()))):
        raise UserError(f"the weights of a guidance rule sum to {total}; they must sum to 1")
    return tuple(Branch(weight, *asked) for asked, weight in weights.items() if weight != 0)


def _weighted_sum(branches: Branches, u: Float[Array, "bk *shape"]) -> Float[Array, "b *shape"]:
    """`sum_k weight_k u_k` of branches that lie side by side, in float32.

    Element by element: as a matrix product, accelerators would round `u` first.
    """
    u = rearrange(u.astype(jnp.float32), "(b k) ... -> k b ...", k=len(branches))
    return sum(one.weight * u[k] for k, one in enumerate(branches))
