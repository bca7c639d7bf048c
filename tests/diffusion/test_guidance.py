"""Guidance: every row of the ablation table against a NumPy form written out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from videojam_jax.diffusion.guidance import (
    RULES,
    Branch,
    combine,
    guided,
    inner_guidance,
    ip2p,
    text_guidance,
    without_motion,
)
from videojam_jax.errors import UserError
from videojam_jax.text import Text

b, n = 3, 4
shape = (b, 2, 2, 2, 3)
null = Text(np.array([1, 0, 0, 0], np.int32), np.array([True, False, False, False]))
nulls = jax.tree.map(lambda array: np.tile(array, (b, 1)), null)
w1, w2 = 5.0, 3.0


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    x_t, d_t = rng.normal(size=(2, *shape)).astype(np.float32)
    t = rng.uniform(size=b).astype(np.float32)
    tokens = rng.integers(2, 9, (b, n)).astype(np.int32)
    return x_t, d_t, t, Text(tokens, np.arange(n) < np.array([[2], [4], [1]]))


def model(x_t, d_t, t, text, xp=jnp):
    """A small velocity that mixes all its inputs and is linear in none of them."""
    words = xp.sin(1.0 * text.tokens * text.mask).sum(1).reshape(-1, 1, 1, 1, 1)
    t = t.reshape(-1, 1, 1, 1, 1)
    if d_t is None:
        return xp.sin(x_t + words) + t * x_t**2, None
    return xp.sin(x_t + 2 * d_t + words) + t * x_t**2, xp.cos(d_t * words - x_t + t)


def ask(velocity, branches, *given):
    """The guided velocity of `given`, as one program."""
    return jax.jit(guided(velocity, branches, jax.device_put(null)))(*given)


def by_hand(u, x_t, d_t, y, rule):
    """The rules of the table, each written out; `u(x, d, y)` in NumPy, `y` None: no text."""
    none, still = None, np.zeros_like(d_t)
    if rule == "videojam":
        return (1 + w1 + w2) * u(x_t, d_t, y) - w1 * u(x_t, d_t, none) - w2 * u(x_t, still, y)
    if rule == "no_text_guidance":
        return (1 + w2) * u(x_t, d_t, y) - w2 * u(x_t, still, y)
    if rule in ("no_inner_guidance", "dit"):
        return (1 + w1) * u(x_t, d_t, y) - w1 * u(x_t, d_t, none)
    if rule == "no_optical_flow":
        return (1 + w1) * u(x_t, still, y) - w1 * u(x_t, still, none)
    if rule == "ip2p":
        neither, moving, both = u(x_t, still, none), u(x_t, d_t, none), u(x_t, d_t, y)
        return neither + (1 + w2) * (moving - neither) + (1 + w1) * (both - moving)
    raise KeyError(rule)


def numpy_velocity(half, t, text):
    """`u(x, d, y)` of one half of the output, in NumPy."""

    def u(x_t, d_t, y):
        return model(x_t, d_t, t, nulls if y is None else text, xp=np)[half]

    return u


@pytest.mark.parametrize("rule", RULES)
def test_early_steps_of_every_row_of_the_table_follow_its_formula(rule):
    x_t, d_t, t, text = inputs()
    early, _ = RULES[rule](w1, w2)
    answer = ask(model, early, x_t, d_t, t, text)
    for half in (0, 1):
        expected = by_hand(numpy_velocity(half, t, text), x_t, d_t, "y", rule)
        np.testing.assert_allclose(answer[half], expected, atol=2e-5, err_msg=f"half {half}")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("videojam", text_guidance(w1)),
        ("no_text_guidance", text_guidance(0.0)),
        ("no_inner_guidance", text_guidance(w1)),
        ("no_optical_flow", without_motion(w1)),
        ("ip2p", text_guidance(w1)),
        ("dit", text_guidance(w1)),
    ],
)
def test_late_steps_have_no_motion_guidance(rule, expected):
    _, late = RULES[rule](w1, w2)
    assert combine(late) == combine(expected)


weights = st.floats(-20, 20, allow_nan=False)


@settings(deadline=None)
@given(weights, weights)
def test_weights_of_every_rule_sum_to_one(w_text, w_motion):
    rules = [half for rule in RULES.values() for half in rule(w_text, w_motion)]
    for branches in (*rules, ip2p(w_motion, w_text)):
        assert abs(sum(branch.weight for branch in branches) - 1) < 1e-9
        combine(branches)


@pytest.mark.parametrize("rule", [name for name in RULES if name != "no_optical_flow"])
def test_weights_of_zero_leave_the_plain_model(rule):
    assert [combine(half) for half in RULES[rule](0.0, 0.0)] == [(Branch(1.0),)] * 2


def test_inner_guidance_without_motion_weight_is_text_guidance():
    assert combine(inner_guidance(w1, 0.0)) == combine(text_guidance(w1))


def test_all_branches_go_through_the_model_in_one_batch():
    batches = []

    def counting(x_t, *rest):
        batches.append(len(x_t))
        return model(x_t, *rest)

    for rule, branches in [("videojam", 3), ("no_inner_guidance", 2), ("ip2p", 3)]:
        batches.clear()
        early, _ = RULES[rule](w1, w2)
        ask(counting, early, *inputs())
        assert batches == [branches * b], rule


def test_one_batched_call_equals_a_call_for_each_branch():
    x_t, d_t, t, text = inputs(1)
    asked = jax.jit(model)
    separate = [
        (1 + w1 + w2, asked(x_t, d_t, t, text)),
        (-w1, asked(x_t, d_t, t, nulls)),
        (-w2, asked(x_t, 0 * d_t, t, text)),
    ]
    together = ask(model, inner_guidance(w1, w2), x_t, d_t, t, text)
    for half in (0, 1):
        expected = sum(weight * np.asarray(u[half]) for weight, u in separate)
        np.testing.assert_allclose(together[half], expected, atol=1e-5)


def test_a_sample_is_guided_alike_alone_and_in_a_batch():
    arrays = inputs(2)
    velocity = jax.jit(guided(model, inner_guidance(w1, w2), jax.device_put(null)))
    together = velocity(*arrays)
    for i in range(b):
        alone = velocity(*jax.tree.map(lambda array: array[i : i + 1], arrays))
        for half in (0, 1):
            np.testing.assert_allclose(alone[half][0], together[half][i], atol=1e-5)


@settings(max_examples=10, deadline=None)  # each a program to compile
@given(weights, weights, st.integers(0, 2**16))
def test_linear_velocity_is_guided_as_the_paper_writes_it(w_text, w_motion, seed):
    """For `u = A x + B d + C y + c` the formula has a closed form of its own.

    `(1 + w1 + w2) u(x, d, y) - w1 u(x, d, none) - w2 u(x, 0, y)
      = A x + (1 + w2) B d + C (y + w1 (y - none)) + c`
    """
    rng = np.random.default_rng(seed)
    A, B, C = (rng.normal(size=(2, k, 3)).astype(np.float32) for k in (3, 3, 4))
    c = rng.normal(size=(2, 3)).astype(np.float32)

    def linear(x_t, d_t, t, text):
        y = text.tokens.reshape(-1, 4)
        u = [x_t @ A[i] + d_t @ B[i] + y @ C[i] + c[i] for i in (0, 1)]
        return u[0], u[1]

    x_t, d_t = rng.normal(size=(2, b, 3)).astype(np.float32)
    y = rng.normal(size=(b, 1, 4)).astype(np.float32)
    none = rng.normal(size=(1, 4)).astype(np.float32)
    text = Text(y, np.ones((b, 1), bool))
    empty = jax.device_put(Text(none, text.mask[0]))
    rule = guided(linear, inner_guidance(w_text, w_motion), empty)
    answer = jax.jit(rule)(x_t, d_t, np.zeros(b, np.float32), text)
    for i in (0, 1):
        words = y[:, 0] + w_text * (y[:, 0] - none)
        expected = x_t @ A[i] + (1 + w_motion) * d_t @ B[i] + words @ C[i] + c[i]
        scale = 1 + abs(w_text) + abs(w_motion)
        np.testing.assert_allclose(answer[i], expected, atol=1e-4 * scale)


def test_guided_velocity_is_that_of_the_distribution_the_paper_defines():
    """Gaussian text, video and motion, for which every density is known.

    `p~ ~ p([x, d] | y) p(y | [x, d])^w1 p(d | x, y)^w2` is written down as a log density
    and differentiated; the branches get the exact velocity of what they know. The
    video half must agree, where the velocity for dropped motion is that of `p(x | y)`.
    """
    covariance = jnp.array([[1.0, 0.6, 0.5], [0.6, 1.3, 0.7], [0.5, 0.7, 0.9]])  # y, x1, d1
    time = 0.6
    # y is not noised; x_t and d_t are, each by its own noise.
    scale = jnp.array([1.0, time, time])
    at_t = covariance * scale[:, None] * scale + jnp.diag(jnp.array([0, 1, 1]) * (1 - time) ** 2)
    y, x, d = 0, 1, 2

    def log_density(values, over, given=()):
        """log p(over | given) up to a constant, by log p(both) - log p(given)."""

        def joint(axes):
            v = jnp.stack([values[i] for i in axes])
            sub = at_t[jnp.array(axes)[:, None], jnp.array(axes)]
            return -0.5 * v @ jnp.linalg.solve(sub, v)

        return joint([*over, *given]) - (joint(list(given)) if given else 0.0)

    def target(values):
        return (
            log_density(values, (x, d), (y,))
            + w1 * log_density(values, (y,), (x, d))
            + w2 * log_density(values, (d,), (x, y))
        )

    def velocity_of(log_p, values):
        """For a straight path from N(0, 1): u = (x + (1 - t) d log p / dx) / t."""
        score = jax.grad(log_p)(values)
        return (values + (1 - time) * score) / time

    def velocity(x_t, d_t, t, text):
        def one(x_t, d_t, word):
            values = jnp.stack([word[0], x_t[0], d_t[0]])
            with_text = velocity_of(lambda v: log_density(v, (x, d), (y,)), values)
            without = velocity_of(lambda v: log_density(v, (x, d)), values)
            still = velocity_of(lambda v: log_density(v, (x,), (y,)), values)
            u = jnp.where(word[1] > 0, without, jnp.where(d_t[0] == 0, still, with_text))
            return u[x : x + 1], u[d : d + 1]

        return jax.vmap(one)(x_t, d_t, text.tokens[:, 0])

    values = jnp.array([0.8, -0.4, 1.1])
    word, none = jnp.array([[[values[y], 0.0]]]), jnp.array([[0.0, 1.0]])
    text = Text(word, jnp.array([[True]]))
    rule = guided(velocity, inner_guidance(w1, w2), Text(none, text.mask[0]))
    x_t, d_t = values[None, x : x + 1], values[None, d : d + 1]
    u_x, _ = jax.jit(rule)(x_t, d_t, jnp.array([time]), text)
    expected = jax.jit(lambda values: velocity_of(target, values))(values)[x]
    np.testing.assert_allclose(u_x[0, 0], expected, rtol=1e-4)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_of_a_base_model_is_guidance_by_text(rule):
    x_t, _, t, text = inputs(3)
    early, _ = RULES[rule](w1, w2)
    u_x, u_d = ask(model, early, x_t, None, t, text)
    strength = 0.0 if rule == "no_text_guidance" else w1
    with_text, _ = model(x_t, None, t, text, xp=np)
    without, _ = model(x_t, None, t, nulls, xp=np)
    expected = with_text + strength * (with_text - without)
    np.testing.assert_allclose(u_x, expected, atol=1e-5)
    assert u_d is None


def test_a_base_model_is_not_asked_twice_what_differs_in_the_motion_alone():
    asked = []

    def counting(x_t, *_):
        asked.append(len(x_t))
        return x_t, None

    x_t, _, *rest = jax.device_put(inputs(3))
    for rule in RULES:
        early, _ = RULES[rule](w1, w2)
        guided(counting, early, jax.device_put(null))(x_t, None, *rest)
    assert asked == [b if rule == "no_text_guidance" else 2 * b for rule in RULES]


def test_branches_are_summed_in_float32_whatever_the_model_answers_in():
    x_t, d_t, t, text = inputs(4)

    def coarse(*args):
        return tuple(u.astype(jnp.bfloat16) for u in model(*args))

    u_x, u_d = ask(coarse, inner_guidance(w1, w2), x_t, d_t, t, text)
    assert u_x.dtype == u_d.dtype == jnp.float32
    questions = [
        (1 + w1 + w2, d_t, text),
        (-w1, d_t, nulls),
        (-w2, 0 * d_t, text),
    ]
    answer = jax.jit(coarse)
    expected = sum(
        weight * np.asarray(answer(x_t, motion, t, words)[0], np.float64)
        for weight, motion, words in questions
    )
    np.testing.assert_allclose(u_x, expected, atol=1e-5)


def test_equal_questions_are_merged_and_those_without_weight_not_asked():
    nothing, still = Branch(0.0, drop_text=True), Branch(-0.5, drop_motion=True)
    branches = [Branch(2.0), nothing, Branch(-0.5), still]
    assert combine(branches) == (Branch(1.5), still)


@pytest.mark.parametrize("branches", [[Branch(2.0)], [Branch(1.0), Branch(-1e-3, True)], []])
def test_weights_that_do_not_sum_to_one_are_refused(branches):
    with pytest.raises(UserError, match="must sum to 1"):
        guided(model, branches, null)


def test_nan_weights_are_refused():
    with pytest.raises(UserError, match="must sum to 1"):
        combine(text_guidance(float("nan")))


def test_guidance_moves_nothing_between_devices_that_share_a_batch():
    devices = jax.devices()
    if len(devices) < 2:
        pytest.skip("one device")
    mesh = jax.make_mesh((len(devices),), ("data",))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    many = jax.tree.map(lambda array: jnp.concatenate([array] * len(devices)), inputs())
    velocity = guided(model, inner_guidance(w1, w2), jax.device_put(null))

    split = jax.jit(velocity, in_shardings=(rows,) * 4, out_shardings=(rows, rows))
    program = split.lower(*many).compile().as_text()

    moves = ("all-gather", "all-to-all", "all-reduce", "collective-permute", "reduce-scatter")
    assert not [move for move in moves if move in program]
    for one, other in zip(split(*many), velocity(*many)):
        np.testing.assert_allclose(one, other, atol=1e-5)
