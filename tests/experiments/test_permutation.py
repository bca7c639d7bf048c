"""The losses of permuted clips: closed forms, and models that notice time or do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.experiments.permutation import orders, permutation_errors, relative_rise
from videojam_jax.text import Text

B, T, SHAPE = 3, 5, (3, 5, 4, 4, 2)


@pytest.fixture(scope="module")
def clips():
    x1, d1, x0, d0 = np.random.default_rng(0).standard_normal((4, *SHAPE), np.float32)
    text = Text(np.zeros((B, 1), np.int32), np.ones((B, 1), bool))
    return {"x1": x1, "d1": d1, "order": orders(0, B, T), "text": text,
            "t": np.array([0.1, 0.5, 0.9], np.float32), "x0": x0, "d0": d0}  # fmt: skip


def asked(velocity, clips, **options):
    """The errors, and the motion that the model was given each time, by one program."""

    def run(clips):
        seen = []

        def looked_at(x, d, *rest):
            seen.append(d)
            return velocity(x, d, *rest)

        return permutation_errors(looked_at, **clips, **options), seen

    return jax.jit(run)(clips)


def permuted(clips, name="x1"):
    return np.stack([clips[name][i][clips["order"][i]] for i in range(B)])


def mean_square(x):
    return np.square(x).reshape(B, -1).mean(1)


def test_a_model_that_says_nothing_errs_by_the_velocities_themselves(clips):
    errors, _ = asked(lambda x, d, *_: (0 * x, 0 * d), clips)
    v = clips["x1"] - clips["x0"]
    np.testing.assert_allclose(errors["ordered"], mean_square(v), rtol=1e-5)
    np.testing.assert_allclose(errors["original"], mean_square(v), rtol=1e-5)
    np.testing.assert_allclose(
        errors["own"], mean_square(permuted(clips) - clips["x0"]), rtol=1e-5
    )


def test_a_model_of_single_frames_does_not_notice_their_order(clips):
    def per_frame(x, d, *_):
        return jnp.tanh(x) + x.mean((2, 3, 4), keepdims=True), d

    # The noise keeps its place when frames move: without noise the losses are the same.
    still = {**clips, "x0": np.zeros(SHAPE, np.float32), "d0": np.zeros(SHAPE, np.float32)}
    errors, _ = asked(per_frame, still)
    np.testing.assert_allclose(errors["own"], errors["ordered"], rtol=1e-5)
    assert (errors["original"] > 1.05 * errors["ordered"]).all()


def test_a_model_that_knows_the_next_frame_notices_the_order(clips):
    # Frames that grow by 1: this model knows each clip from the frame before.
    x1 = np.broadcast_to(np.arange(T, dtype=np.float32)[None, :, None, None, None], SHAPE)
    still = np.zeros(SHAPE, np.float32)

    def next_is_one_more(x, d, t, *_):
        clean = x / t[:, None, None, None, None]
        before = jnp.concatenate([clean[:, :1] - 1, clean[:, :-1]], 1)
        return before + 1, d

    errors, _ = asked(next_is_one_more, {**clips, "x1": x1, "x0": still, "d0": still})
    np.testing.assert_allclose(errors["ordered"], 0, atol=1e-8)
    assert (errors["own"] > 0.1).all()


def test_motion_is_permuted_with_its_clip_and_dropped_where_asked(clips):
    without_noise = {**clips, "d0": np.zeros(SHAPE, np.float32), "t": np.ones(B, np.float32)}
    _, seen = asked(lambda x, d, *_: (x, d), without_noise)
    np.testing.assert_allclose(seen[0], permuted(clips, "d1"), rtol=1e-6)
    np.testing.assert_allclose(seen[1], clips["d1"], rtol=1e-6)
    _, seen = asked(lambda x, d, *_: (x, d), without_noise, drop_motion=True)
    assert len(seen) == 2 and not np.any(seen)


def test_a_base_model_is_asked_without_motion(clips):
    errors, seen = asked(lambda x, d, *_: (x, d), {**clips, "d1": None, "d0": None})
    assert set(errors) == {"ordered", "own", "original"} and seen == [None, None]


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
