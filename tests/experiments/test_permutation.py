"""The losses of permuted clips: closed forms, and models that notice time or do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from videojam_jax.config import loading, sampling
from videojam_jax.data.permuted import permutation
from videojam_jax.experiments.permutation import (
    admission,
    permutation_errors,
    relative_rise,
)
from videojam_jax.experiments.setting import Setting
from videojam_jax.experiments.time_axes import time_axes
from videojam_jax.text import Text

B, T, SHAPE = 3, 5, (3, 5, 4, 4, 2)
ORDER = np.stack([permutation(0, clip, T) for clip in range(B)])


def permuted(latent):
    return np.stack([one[its_order] for one, its_order in zip(latent, ORDER, strict=True)])


@pytest.fixture(scope="module")
def clips():
    x1, d1, x0, d0 = np.random.default_rng(0).standard_normal((4, *SHAPE), np.float32)
    return given(x1, d1, x0, d0, np.array([0.1, 0.5, 0.9], np.float32))


def given(x1, d1, x0, d0, t):
    text = Text(np.zeros((B, 1), np.int32), np.ones((B, 1), bool))
    return {"ordered": (x1, d1), "permuted": (permuted(x1), permuted(d1)), "text": text,
            "t": t, "noise": (x0, d0)}  # fmt: skip


def asked(velocity, clips, **options):
    """The errors, and the motion that the model was given each time, by one program."""

    def run(clips):
        seen = []

        def looked_at(x, d, *rest):
            seen.append(d)
            return velocity(x, d, *rest)

        return permutation_errors(looked_at, **clips, **options), seen

    return jax.jit(run)(clips)


def mean_square(x):
    return np.square(x).reshape(B, -1).mean(1)


def test_a_model_that_says_nothing_errs_by_the_velocities_themselves(clips):
    errors, _ = asked(lambda x, d, *_: (0 * x, 0 * d), clips)
    for half, clean, other, noise in zip(
        ("appearance", "motion"), clips["ordered"], clips["permuted"], clips["noise"], strict=True
    ):
        in_order, out_of_order = mean_square(clean - noise), mean_square(other - noise)
        np.testing.assert_allclose(errors["ordered"][half], in_order, rtol=1e-5)
        np.testing.assert_allclose(errors["original"][half], in_order, rtol=1e-5)
        np.testing.assert_allclose(errors["own"][half], out_of_order, rtol=1e-5)


def test_a_model_of_single_frames_does_not_notice_their_order(clips):
    def per_frame(x, d, *_):
        return jnp.tanh(x) + x.mean((2, 3, 4), keepdims=True), jnp.tanh(d)

    # The noise keeps its place when frames move: without noise the losses are the same.
    still = np.zeros(SHAPE, np.float32)
    errors, _ = asked(per_frame, {**clips, "noise": (still, still)})
    for half in ("appearance", "motion"):
        np.testing.assert_allclose(errors["own"][half], errors["ordered"][half], rtol=1e-5)
        assert (errors["original"][half] > 1.05 * errors["ordered"][half]).all()


def test_a_model_that_knows_the_next_frame_notices_the_order(clips):
    # Frames that grow by 1: this model knows each clip from the frame before.
    x1 = np.broadcast_to(np.arange(T, dtype=np.float32)[None, :, None, None, None], SHAPE)
    still = np.zeros(SHAPE, np.float32)

    def next_is_one_more(x, d, t, *_):
        clean = x / t[:, None, None, None, None]
        before = jnp.concatenate([clean[:, :1] - 1, clean[:, :-1]], 1)
        return before + 1, d

    errors, _ = asked(next_is_one_more, given(x1, x1, still, still, clips["t"]))
    np.testing.assert_allclose(errors["ordered"]["appearance"], 0, atol=1e-8)
    assert (errors["own"]["appearance"] > 0.1).all()


def test_a_clip_is_given_with_its_own_motion_or_with_none(clips):
    still = np.zeros(SHAPE, np.float32)
    at_the_data = {**clips, "noise": (still, still), "t": np.ones(B, np.float32)}
    _, seen = asked(lambda x, d, *_: (x, d), at_the_data)
    for motion, which in zip(seen, ("ordered", "permuted"), strict=True):
        np.testing.assert_allclose(motion, clips[which][1], rtol=1e-6)
    errors, seen = asked(lambda x, d, *_: (x, d), at_the_data, drop_motion=True)
    assert len(seen) == 2 and not np.any(seen)
    # What it should have answered is the same as with its motion.
    wanted = mean_square(clips["ordered"][1])
    np.testing.assert_allclose(errors["ordered"]["motion"], wanted, rtol=1e-5)


def test_a_base_model_is_asked_without_motion(clips):
    pairs = {name: (clips[name][0], None) for name in ("ordered", "permuted", "noise")}
    errors, seen = asked(lambda x, d, *_: (x, d), {**clips, **pairs})
    assert {name: set(halves) for name, halves in errors.items()} == {
        name: {"appearance"} for name in ("ordered", "own", "original")
    }
    assert seen == [None, None]


def setting(folder, **given):
    path = str(tiny_run.ROOT / "configs" / "experiments" / "permutation.py:tiny")
    return Setting(loading.load_experiment(path, given), folder)


@pytest.mark.parametrize(("times", "on_steps", "first"), [(200, 100, 60), (20, 10, 6), (4, 2, 1)])
def test_the_first_60_of_100_steps_are_not_the_first_60_percent_of_t(
    tmp_path, times, on_steps, first
):
    paper = {"change.sample.steps": "100", "change.sample.emulate": "1000"}
    here = setting(tmp_path, **paper, **{"experiment.times": str(times)})
    found, (steps, line) = time_axes(here)
    assert (np.diff(found) > 0).all() and times * 0.9 < len(found) <= times
    assert (len(steps.x), len(line.x)) == (on_steps, times - on_steps)
    assert steps.early.sum() == first and steps.first == "the first 60 of 100 steps (t < 0.096)"
    of_steps = sampling.times(here.run_config("videojam", 0))
    np.testing.assert_allclose(found[steps.chosen], of_steps[steps.x.astype(int)], atol=1e-9)
    assert (found[steps.chosen][steps.early] < 0.096).all()
    np.testing.assert_allclose(found[line.chosen], line.x, atol=1e-9)
    np.testing.assert_array_equal(line.early, line.x < 0.6)
    assert line.early.any() and not line.early.all() and line.first == "t < 0.6"


def test_all_steps_of_a_short_sampler_and_the_rest_on_the_line(tmp_path):
    short = {"change.sample.steps": "4", "change.sample.schedule": "linear"}
    found, (steps, line) = time_axes(setting(tmp_path, **short, **{"experiment.times": "20"}))
    np.testing.assert_array_equal(steps.x, [0, 1, 2, 3])
    np.testing.assert_allclose(found[steps.chosen], [0, 0.25, 0.5, 0.75])
    assert len(line.x) == 16 and steps.early.tolist() == [True, True, False, False]


def test_the_rise_is_of_the_loss_in_order_over_the_times_of_an_axis(tmp_path):
    _, (steps, _) = time_axes(setting(tmp_path, **{"experiment.times": "8"}))
    early, late = steps.chosen[steps.early], steps.chosen[~steps.early]
    losses = {"ordered": np.full((1, 1, 8), 100.0), "own": np.full((1, 1, 8), 900.0)}
    for name, at_early, at_late in (("ordered", 2.0, 10.0), ("own", 3.0, 11.0)):
        losses[name][..., early], losses[name][..., late] = at_early, at_late
    assert relative_rise(losses, "own", steps) == pytest.approx(0.5)
    assert relative_rise(losses, "own", steps, early=False) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("rises", "verdict"),
    [((1.04, 1.06), "it passes"), ((1.1, 1.3), "undecided"), ((1.4, 1.42), "it does not pass")],
)
def test_a_base_is_admitted_by_the_rise_over_the_first_60_of_100_steps(tmp_path, rises, verdict):
    paper = {"change.sample.steps": "100", "change.sample.emulate": "1000"}
    here = setting(tmp_path, **paper)
    times, (steps, _) = time_axes(here)
    ordered = np.ones((1, 4, len(times)))
    own = ordered * np.array([*rises, *rises])[:, None]
    own[..., steps.chosen[~steps.early]] = 9.0  # what comes later does not count
    said = admission(here, {"appearance": {"ordered": ordered, "own": own}}, steps)
    assert said.startswith("Over the first 60 of 100 steps (t < 0.096) of sampling its loss rises")
    assert f" {100 * np.mean(rises) - 100:.0f}" in said and said.endswith(f"we ask): {verdict}.")
    latents = setting(tmp_path, **paper, **{"experiment.permute": "latents"})
    said = admission(latents, {"appearance": {"ordered": ordered, "own": own}}, steps)
    assert "permutes the frames of the video instead" in said and verdict not in said
