"""The losses of permuted clips: closed forms, and models that notice time or do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.evaluate.experiments.permutation import (
    orders,
    permutation_errors,
    relative_rise,
)

B, T, SHAPE = 3, 5, (3, 5, 4, 4, 2)


@pytest.fixture(scope="module")
def clips():
    keys = jax.random.split(jax.random.key(0), 4)
    x1, d1, x0, d0 = (jax.random.normal(key, SHAPE) for key in keys)
    order = jnp.asarray(orders(0, B, T))
    return {"x1": x1, "d1": d1, "order": order, "text": jnp.zeros((B, 1), jnp.int32),
            "text_mask": jnp.ones((B, 1), bool), "t": jnp.array([0.1, 0.5, 0.9]),
            "x0": x0, "d0": d0}  # fmt: skip


def permuted(clips, name="x1"):
    return np.stack([clips[name][i][clips["order"][i]] for i in range(B)])


def mean_square(x):
    return np.square(x).reshape(B, -1).mean(1)


def test_a_model_that_says_nothing_errs_by_the_velocities_themselves(clips):
    errors = permutation_errors(lambda x, d, *_: (0 * x, 0 * d), **clips)
    v = np.asarray(clips["x1"] - clips["x0"])
    np.testing.assert_allclose(errors["ordered"], mean_square(v), rtol=1e-5)
    np.testing.assert_allclose(errors["original"], mean_square(v), rtol=1e-5)
    np.testing.assert_allclose(
        errors["own"], mean_square(permuted(clips) - clips["x0"]), rtol=1e-5
    )


def test_a_model_of_single_frames_does_not_notice_their_order(clips):
    def per_frame(x, d, *_):
        return jnp.tanh(x) + x.mean((2, 3, 4), keepdims=True), d

    # The noise keeps its place when frames move: without noise the losses are the same.
    still = {**clips, "x0": jnp.zeros(SHAPE), "d0": jnp.zeros(SHAPE)}
    errors = permutation_errors(per_frame, **still)
    np.testing.assert_allclose(errors["own"], errors["ordered"], rtol=1e-5)
    assert (errors["original"] > 1.05 * errors["ordered"]).all()


def test_a_model_that_knows_the_next_frame_notices_the_order(clips):
    # Frames that grow by 1: this model knows each clip from the frame before.
    x1 = jnp.broadcast_to(jnp.arange(T, dtype=jnp.float32)[None, :, None, None, None], SHAPE)

    def next_is_one_more(x, d, t, *_):
        clean = x / t[:, None, None, None, None]
        before = jnp.concatenate([clean[:, :1] - 1, clean[:, :-1]], 1)
        return before + 1, d

    errors = permutation_errors(
        next_is_one_more, **{**clips, "x1": x1, "x0": jnp.zeros(SHAPE), "d0": jnp.zeros(SHAPE)}
    )
    np.testing.assert_allclose(errors["ordered"], 0, atol=1e-8)
    assert (errors["own"] > 0.1).all()


def test_motion_is_permuted_with_its_clip_and_dropped_where_asked(clips):
    seen = []

    def looks(x, d, *_):
        seen.append(np.asarray(d))
        return x, d

    without_noise = {**clips, "d0": jnp.zeros(SHAPE), "t": jnp.ones(B)}
    permutation_errors(looks, **without_noise)
    np.testing.assert_allclose(seen[0], permuted(clips, "d1"), rtol=1e-6)
    np.testing.assert_allclose(seen[1], clips["d1"], rtol=1e-6)
    permutation_errors(looks, **without_noise, drop_motion=True)
    assert not seen[2].any() and not seen[3].any()


def test_a_base_model_is_asked_without_motion(clips):
    errors = permutation_errors(lambda x, d, *_: (x, d), **{**clips, "d1": None, "d0": None})
    assert set(errors) == {"ordered", "own", "original"}


def test_orders_are_permutations_of_which_none_is_the_identity():
    found = orders(3, 200, 2)
    assert (found == [1, 0]).all()  # of two frames there is one other order
    found = orders(3, 50, 6)
    assert (np.sort(found, 1) == np.arange(6)).all()
    assert (found != np.arange(6)).any(1).all()
    np.testing.assert_array_equal(found[:20], orders(3, 20, 6))  # a function of seed and clip
    assert orders(0, 3, 1).tolist() == [[0], [0], [0]]


def test_the_rise_is_of_the_loss_in_order():
    losses = {"ordered": np.array([[[1.0, 3.0, 9.0]]]), "own": np.array([[[2.0, 4.0, 0.0]]])}
    assert relative_rise(losses, "own", np.array([True, True, False])) == 0.5
