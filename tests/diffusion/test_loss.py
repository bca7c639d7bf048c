"""The joint loss, against a NumPy form that is given the same random numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.diffusion import loss as losses
from videojam_jax.diffusion.loss import LossOptions, squared_error
from videojam_jax.errors import UserError
from videojam_jax.text import Text

b, n = 6, 5
shape = (b, 4, 3, 2, 2)


def batch(motion=True, embeddings=False):
    keys = jax.random.split(jax.random.key(7), 4)
    x1 = jax.random.normal(keys[0], shape)
    d1 = jax.random.normal(keys[1], shape) if motion else None
    mask = jnp.arange(n) < jnp.array([[2], [5], [1], [4], [3], [5]])
    if embeddings:
        tokens, null = jax.random.normal(keys[2], (b, n, 3)), jnp.full((n, 3), 9.0)
    else:
        tokens, null = jax.random.randint(keys[2], (b, n), 1, 100), jnp.zeros(n, jnp.int32)
    return dict(x1=x1, d1=d1, text=Text(tokens, mask), null=Text(null, jnp.arange(n) < 1))


def joint_loss(velocity, *, options=LossOptions(), **given):
    """As the training step puts it together."""
    return losses.joint_loss(velocity, losses.noised_batch(**given, options=options), options)


class Recorder:
    """A velocity function that keeps what it was asked and answers in a known way."""

    def __init__(self, answer=lambda x: 0.5 * x + 1):
        self.answer = answer

    def __call__(self, x_t, d_t, t, text):
        self.asked = dict(x_t=x_t, d_t=d_t, t=t, tokens=text.tokens, mask=text.mask)
        return self.answer(x_t), None if d_t is None else self.answer(d_t)


def recover(x_t, x1, t):
    """The noise that was mixed into `x_t`."""
    t = np.asarray(t).reshape(-1, 1, 1, 1, 1)
    return (np.asarray(x_t, np.float64) - t * np.asarray(x1)) / (1 - t)


def test_loss_is_the_mean_squared_error_of_both_halves():
    given, model = batch(), Recorder()
    loss, parts = joint_loss(
        model, **given, key=jax.random.key(0), options=LossOptions(0.0, 0.0, motion_weight=0.25)
    )
    x_t, d_t, t = (np.asarray(model.asked[name], np.float64) for name in ("x_t", "d_t", "t"))
    x1, d1 = np.asarray(given["x1"]), np.asarray(given["d1"])
    x0, d0 = recover(x_t, x1, t), recover(d_t, d1, t)

    appearance = np.mean((0.5 * x_t + 1 - (x1 - x0)) ** 2)
    motion = np.mean((0.5 * d_t + 1 - (d1 - d0)) ** 2)
    np.testing.assert_allclose(parts["appearance_loss"], appearance, rtol=1e-4)
    np.testing.assert_allclose(parts["motion_loss"], motion, rtol=1e-4)
    np.testing.assert_allclose(loss, appearance + 0.25 * motion, rtol=1e-4)


def test_noise_is_standard_normal_and_independent_between_video_and_motion():
    x1 = jnp.zeros((8, 8, 16, 16, 3))
    text = Text(jnp.ones((8, 1), jnp.int32), jnp.ones((8, 1), bool))
    model = Recorder()
    joint_loss(
        model, x1=x1, d1=x1, text=text, null=text.row(0),
        key=jax.random.key(5), options=LossOptions(0.0, 0.0),
    )  # fmt: skip
    x0 = recover(model.asked["x_t"], x1, model.asked["t"]).ravel()
    d0 = recover(model.asked["d_t"], x1, model.asked["t"]).ravel()
    bound = 4 / np.sqrt(x0.size)
    assert abs(x0.mean()) < bound and abs(d0.mean()) < bound, (x0.mean(), d0.mean())
    assert abs(x0.var() - 1) < 2 * bound and abs(d0.var() - 1) < 2 * bound, (x0.var(), d0.var())
    assert abs(np.mean(x0 * d0)) < bound, np.mean(x0 * d0)
    # As fine as float32: in bfloat16 there are 256 numbers between 1 and 2.
    assert len(np.unique(x0[(1 < x0) & (x0 < 2)].astype(np.float32).round(5))) > 1000


def test_a_perfect_velocity_has_loss_zero():
    given = batch()

    def velocity(x_t, d_t, t, text):
        rest = (1 - t)[:, None, None, None, None]
        return (given["x1"] - x_t) / rest, (given["d1"] - d_t) / rest

    loss, _ = joint_loss(velocity, **given, key=jax.random.key(1), options=LossOptions(0.0, 0.0))
    assert float(loss) < 1e-9, float(loss)


@pytest.mark.parametrize("embeddings", [False, True])
def test_every_text_is_the_empty_caption_when_all_texts_are_dropped(embeddings):
    given, model = batch(embeddings=embeddings), Recorder()
    joint_loss(model, **given, key=jax.random.key(0), options=LossOptions(p_drop_text=1.0))
    for tokens, mask in zip(model.asked["tokens"], model.asked["mask"]):
        np.testing.assert_array_equal(tokens, given["null"].tokens)
        np.testing.assert_array_equal(mask, given["null"].mask)


def test_dropped_motion_is_zero_and_keeps_its_target():
    given, model = batch(), Recorder(answer=lambda x: 0 * x)
    _, kept = joint_loss(
        model, **given, key=jax.random.key(0), options=LossOptions(p_drop_motion=0.0)
    )
    _, dropped = joint_loss(
        model, **given, key=jax.random.key(0), options=LossOptions(p_drop_motion=1.0)
    )
    np.testing.assert_array_equal(model.asked["d_t"], np.zeros(shape))
    # The model answers zero either way, so the error is that of the target alone.
    np.testing.assert_array_equal(dropped["motion_loss"], kept["motion_loss"])


def test_motion_loss_is_the_mean_over_the_samples_that_kept_their_motion():
    given, model = batch(), Recorder()
    options = LossOptions(0.0, 0.5, motion_target_when_dropped=False)
    _, parts = joint_loss(model, **given, key=jax.random.key(2), options=options)
    asked = model.asked
    kept = np.asarray(jnp.any(asked["d_t"] != 0, axis=(1, 2, 3, 4)))
    assert 0 < kept.sum() < b, kept

    d1 = np.asarray(given["d1"])
    d0 = recover(asked["d_t"], d1, asked["t"])
    each = np.mean((0.5 * np.asarray(asked["d_t"]) + 1 - (d1 - d0)) ** 2, axis=(1, 2, 3, 4))
    np.testing.assert_allclose(parts["motion_loss"], each[kept].mean(), rtol=1e-4)


def test_motion_loss_is_zero_and_its_gradient_finite_when_no_sample_kept_its_motion():
    given = batch()
    options = LossOptions(0.0, 1.0, motion_target_when_dropped=False)

    def loss(scale):
        return joint_loss(
            lambda x, d, t, text: (scale * x, scale * d + scale),
            **given, key=jax.random.key(2), options=options,
        )

    (value, parts), slope = jax.value_and_grad(loss, has_aux=True)(0.3)
    assert float(parts["motion_loss"]) == 0 and float(value) == float(parts["appearance_loss"])
    assert np.isfinite(slope)


def test_video_noise_times_and_dropped_texts_are_the_same_without_motion():
    joint, base = Recorder(), Recorder()
    _, with_motion = joint_loss(joint, **batch(), key=jax.random.key(4))
    loss, parts = joint_loss(base, **batch(motion=False), key=jax.random.key(4))
    for name in ("x_t", "t", "tokens", "mask"):
        np.testing.assert_array_equal(joint.asked[name], base.asked[name])
    assert base.asked["d_t"] is None
    assert set(parts) == {"appearance_loss"}
    assert float(loss) == float(with_motion["appearance_loss"])


def test_the_key_decides_everything():
    def asked(key):
        model = Recorder()
        joint_loss(model, **batch(), key=key)
        return model.asked

    first, again, other = (asked(jax.random.key(k)) for k in (0, 0, 1))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert not np.array_equal(first["t"], other["t"])
    assert not np.array_equal(first["x_t"], other["x_t"])


def test_half_precision_latents_and_answers_are_compared_in_float32():
    given = batch()
    given |= {name: given[name].astype(jnp.bfloat16) for name in ("x1", "d1")}
    model = Recorder(answer=lambda x: (0.5 * x + 1).astype(jnp.bfloat16))
    loss, parts = joint_loss(model, **given, key=jax.random.key(0))
    assert model.asked["x_t"].dtype == model.asked["d_t"].dtype == jnp.float32
    assert {loss.dtype, *(part.dtype for part in parts.values())} == {jnp.dtype("float32")}


def test_sigma_min_and_time_options_reach_the_path():
    given, model = batch(), Recorder()
    options = LossOptions(0.0, 0.0, sigma_min=0.5, time_mean=4.0, time_std=0.01)
    _, parts = joint_loss(model, **given, key=jax.random.key(0), options=options)
    asked, x1 = model.asked, np.asarray(given["x1"])
    t = np.asarray(asked["t"], np.float64).reshape(-1, 1, 1, 1, 1)
    np.testing.assert_allclose(t.ravel(), 0.982, atol=0.002)
    x0 = (np.asarray(asked["x_t"]) - t * x1) / (1 - 0.5 * t)
    expected = np.mean((0.5 * np.asarray(asked["x_t"]) + 1 - (x1 - 0.5 * x0)) ** 2)
    np.testing.assert_allclose(parts["appearance_loss"], expected, rtol=1e-4)


def test_sigma_min_is_of_the_motion_too_and_the_kind_of_times_is_the_one_named():
    given, model = batch(), Recorder()
    # A logit-normal time of this mean would be 1 for all.
    options = LossOptions(0.0, 0.0, sigma_min=0.5, time_kind="uniform", time_mean=50.0)
    _, parts = joint_loss(model, **given, key=jax.random.key(0), options=options)
    asked, d1 = model.asked, np.asarray(given["d1"])
    t = np.asarray(asked["t"], np.float64).reshape(-1, 1, 1, 1, 1)
    assert (t < 1).all() and len(np.unique(t)) == b, t.ravel()  # each sample has its own
    d0 = (np.asarray(asked["d_t"]) - t * d1) / (1 - 0.5 * t)
    expected = np.mean((0.5 * np.asarray(asked["d_t"]) + 1 - (d1 - 0.5 * d0)) ** 2)
    np.testing.assert_allclose(parts["motion_loss"], expected, rtol=1e-4)


def test_loss_compiles_and_has_a_gradient_by_the_model():
    given = batch()

    @functools.partial(jax.jit, static_argnames="options")
    def loss(scale, key, options):
        velocity = lambda x, d, t, text: (scale * x, scale * d)  # noqa: E731
        return joint_loss(velocity, **given, key=key, options=options)[0]

    key, options, step = jax.random.key(0), LossOptions(), 1e-2
    slope = jax.grad(loss)(0.3, key, options)
    difference = (loss(0.3 + step, key, options) - loss(0.3 - step, key, options)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-2)


def test_squared_error_is_one_mean_for_each_sample():
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, *shape)).astype(np.float32)
    expected = ((u - v) ** 2).reshape(b, -1).mean(1)
    np.testing.assert_allclose(squared_error(jnp.asarray(u), jnp.asarray(v)), expected, rtol=1e-5)
    u, v = u.astype(jnp.bfloat16), v.astype(jnp.bfloat16)
    expected = ((u.astype(np.float64) - v.astype(np.float64)) ** 2).reshape(b, -1).mean(1)
    np.testing.assert_allclose(squared_error(jnp.asarray(u), jnp.asarray(v)), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (dict(p_drop_text=1.1), "p_drop_text = 1.1: at most 1.0"),
        (dict(p_drop_motion=-0.1), "p_drop_motion = -0.1: at least 0.0"),
        (dict(motion_weight=-1.0), "motion_weight = -1.0: at least 0.0"),
        (dict(sigma_min=1.0), "sigma_min = 1.0: less than 1.0"),
        (dict(p_drop_text=float("nan")), "p_drop_text = nan: at least 0.0"),
    ],
)
def test_options_out_of_range_are_named(wrong, named):
    with pytest.raises(UserError, match=f"config.loss.{named}"):
        LossOptions(**wrong)
