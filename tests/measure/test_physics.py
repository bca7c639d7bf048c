"""Every clip has its numbers, and a clip that shows nothing has the worst of them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videojam_jax.data.scenes import OF_FIGURES
from videojam_jax.data.simulate import KINDS, Options, simulate
from videojam_jax.measure import prompt
from videojam_jax.measure.physics import PHYSICS_MEASURES, physics_measures
from videojam_jax.measure.tracked import track_bodies

CAPTIONS = [simulate(0, Options(kinds=(kind,)), 0).caption for kind in KINDS]
OF_CAPTION = {"limb_constancy", "legs_alternate", "steady_turn", "trajectory_error",
              "velocity_jumps", "contact_error", "prompt_agreement"}  # fmt: skip
# Of which kinds of motion a measure says something, where not of all.
SAYS = {
    "shape_constancy": set(KINDS) - set(OF_FIGURES),
    "limb_constancy": set(OF_FIGURES),
    "legs_alternate": {"walk", "jog"},
    "steady_turn": {"wheel", "cartwheel"},
    "moves": set(KINDS) - {"wheel"},
    "contact_error": {"bounce", "collide"},
}


def empty_clips() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (16, 64, 64, 3)
    return {
        "noise": rng.integers(0, 256, shape, np.uint8),
        "normal": np.clip(128 + 40 * rng.standard_normal(shape), 0, 255).astype(np.uint8),
        "grey": np.full(shape, 128, np.uint8),
        "black": np.zeros(shape, np.uint8),
        "red": np.full(shape, (230, 25, 25), np.uint8),
        "speckled": np.where(rng.random(shape[:3])[..., None] < 0.05, (230, 25, 25), 110).astype(
            np.uint8
        ),
    }


@pytest.mark.parametrize("name", empty_clips())
@pytest.mark.parametrize("caption", CAPTIONS)
def test_clip_without_a_body_has_the_worst_of_every_measure(name, caption):
    measured = physics_measures(empty_clips()[name], caption)
    for key, value in measured.items():
        if prompt.parse(caption).kind in SAYS.get(key, KINDS):
            assert value == PHYSICS_MEASURES[key].worst, (key, value)
        else:
            assert math.isnan(value), (key, value)


@pytest.mark.parametrize("caption", CAPTIONS)
def test_still_clip_does_not_obey_its_law(caption):
    kind = prompt.parse(caption).kind
    clip = simulate(0, Options(kinds=(kind,)), 0)
    measured = physics_measures(np.repeat(clip.video[:1], 16, 0), caption)
    if kind == "wheel":
        assert measured["steady_turn"] == pytest.approx(0, abs=1e-4)
        return
    assert measured["moves"] == 0
    assert measured["trajectory_error"] == measured["velocity_jumps"] == 1
    if kind in ("walk", "jog"):
        assert measured["legs_alternate"] < 0.05


def test_caption_of_another_form_leaves_what_pixels_tell():
    measured = physics_measures(simulate(0, Options(), 0).video, "a dog runs")
    assert list(measured) == list(PHYSICS_MEASURES)
    assert {key for key, value in measured.items() if math.isnan(value)} == OF_CAPTION


@settings(max_examples=40)
@given(
    frames=st.integers(1, 6), height=st.integers(1, 24), width=st.integers(1, 24),
    caption=st.sampled_from(CAPTIONS), seed=st.integers(0, 999), levels=st.integers(1, 6),
)  # fmt: skip
def test_any_clip_has_every_number_within_its_range(frames, height, width, caption, seed, levels):
    rng = np.random.default_rng(seed)
    # Few and coarse patches of vivid colours before grey: more or less bodies.
    colours = rng.choice([(230, 25, 25), (30, 70, 240), (110, 110, 110)], (frames, levels, levels),
                         p=(0.15, 0.1, 0.75))  # fmt: skip
    rows, columns = np.arange(height) * levels // height, np.arange(width) * levels // width
    video = np.ascontiguousarray(colours[:, rows][:, :, columns].astype(np.uint8))
    for key, value in physics_measures(video, caption).items():
        kind = prompt.parse(caption).kind
        if key == "contact_error" and kind == "bounce" and math.isnan(value):
            continue  # no bounce is seen
        assert math.isnan(value) or 0 <= value <= 1, (key, value)
        assert math.isnan(value) == (kind not in SAYS.get(key, KINDS)), (key, value)


def test_wrong_caption_agrees_less():
    clips = [simulate(index, Options(), 8) for index in range(12)]
    for clip, other in zip(clips, clips[1:] + clips[:1], strict=True):
        right = physics_measures(clip.video, clip.caption)["prompt_agreement"]
        wrong = physics_measures(clip.video, other.caption)["prompt_agreement"]
        assert right >= 0.9 and wrong <= right - 0.2, (clip.caption, other.caption, right, wrong)


def test_bodies_that_lack_are_not_forgiven():
    """A clip of one body, told of as two of which the other is not there."""
    clip = simulate(0, Options(kinds=("fall",), bodies=(1, 1), pan=0.0), 0)
    (body,) = track_bodies(clip.video).bodies
    other = "blue" if body.colour != "blue" else "red"
    names = ((body.colour, clip.states.shapes[0]), (other, "disc"))
    caption = prompt.caption(prompt.Prompt("fall", names))
    measured = physics_measures(clip.video, caption)
    assert measured["trajectory_error"] == pytest.approx(0.5, abs=0.02)
    assert measured["moves"] == pytest.approx(0.5, abs=0.05)
    assert measured["prompt_agreement"] < 0.75
