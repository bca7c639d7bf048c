"""Clips of figures: what stands does not slip, what flies falls, and the flow is exact."""

import dataclasses

import cv2
import numpy as np
import pytest

from videojam_jax.data import figures
from videojam_jax.data.render import render
from videojam_jax.data.scenes import OF_FIGURES
from videojam_jax.data.simulate import Options, draw_scene, simulate

SMALL = {"frames": 16, "height": 40, "width": 40, "texture": 0.5, "bodies": (1, 1)}
HANDS_AND_FEET = (7, 0, 6, 2)


def scenes(kind: str, count: int = 8, **changes):
    options = Options(kinds=(kind,), **{**SMALL, **changes})
    return [draw_scene(index, options, 3)[0] for index in range(count)]


def tips(scene) -> np.ndarray:
    """Where hands and feet are in the world `[4, t, 2]`, as the drawn limbs end."""
    (body,), (track,) = scene.bodies, scene.tracks
    ends = []
    for number in HANDS_AND_FEET:
        way = track.limbs[number]
        length = body.limbs[number].length * 2 * body.radius
        ends.append(way.position + length * np.stack([-np.sin(way.angle), np.cos(way.angle)], -1))
    return np.stack(ends)


@pytest.mark.parametrize("kind", ["walk", "jog", "cartwheel"])
def test_what_carries_stands_still_in_the_world(kind):
    """What is on the ground in two frames in a row is at the same place in both."""
    still, at_rest = [], 0
    for scene in scenes(kind):
        height = 2 * scene.bodies[0].radius
        ground = scene.laws["ground"] - figures.SOLE * height
        ends = tips(scene)
        # A leg that comes forwards dips a little before it stands.
        assert ends[..., 1].max() <= ground + 0.03 * height, "nothing is under the ground"
        on = np.abs(ends[..., 1] - ground) < 1e-6 * height
        both = on[:, 1:] & on[:, :-1]
        assert both.any(0).mean() > 0.7, "something carries, but where it changes"
        still.append(np.linalg.norm(np.diff(ends, axis=1), axis=-1)[both])
        at_rest += both.sum()
    assert at_rest > 50 and np.concatenate(still).max() < 0.05


def test_jump_is_a_parabola_between_standing_and_standing():
    for scene in scenes("jump", frames=24):
        (track,), laws = scene.tracks, scene.laws
        times = np.arange(24)
        flies = (times > laws["off"]) & (times < laws["down"])
        second = np.diff(track.position[flies], 2, axis=0)
        np.testing.assert_allclose(second[:, 1], laws["gravity"], rtol=1e-6)
        np.testing.assert_allclose(second[:, 0], 0, atol=1e-9)
        ground = laws["ground"] - figures.SOLE * 2 * scene.bodies[0].radius
        feet = tips(scene)[2:, ~flies, 1].max(0)
        np.testing.assert_allclose(feet, ground, atol=1e-9)


@pytest.mark.parametrize("kind", OF_FIGURES)
@pytest.mark.parametrize("frames", [16, 48])
@pytest.mark.parametrize("pan", [0.0, 1.0])
def test_hips_stay_in_the_frame(kind, frames, pan):
    for scene in scenes(kind, 20, frames=frames, pan=pan):
        place = scene.tracks[0].position - scene.camera
        assert (place >= 1).all() and (place <= 38).all(), scene.laws


@pytest.mark.parametrize("kind", ["walk", "jog"])
def test_longer_clips_show_more_steps_at_the_same_rate(kind):
    """Of any number of frames above 25; the camera keeps up."""
    short, long = (scenes(kind, 20, frames=frames, pan=0.0) for frames in (25, 48))
    assert [s.laws["rate"] for s in short] == [s.laws["rate"] for s in long]
    for scene in long:
        assert scene.camera[-1, 0] * scene.laws["direction"] > 0
    assert not any(scene.camera.any() for scene in short)


def test_figure_to_the_left_is_the_mirror_image_of_one_to_the_right():
    found = {scene.laws["direction"]: scene for scene in scenes("walk", 20)}
    for direction, scene in found.items():
        gone = scene.tracks[0].position[-1, 0] - scene.tracks[0].position[0, 0]
        assert gone * direction > 10
        # The knees bend backwards: shins lag behind their thighs.
        thigh, shin = (scene.tracks[0].limbs[number].angle for number in (5, 6))
        assert ((shin - thigh) * direction >= -1e-9).all()
    assert set(found) == {1.0, -1.0}


def test_near_limbs_are_bright_and_far_ones_dark():
    clip = simulate(0, Options(kinds=("walk",), frames=4, height=128, width=128, texture=0.0), 3)
    value = clip.video[0].max(-1)[cv2.erode(clip.states.identity[0], np.ones((3, 3))) > 0]
    shares = value / value.max()
    for shade in (figures.FAR, figures.MIDDLE, figures.NEAR):
        assert (np.abs(shares - shade) < 0.02).mean() > 0.1


def as_limbs(scene):
    """The same picture, each limb a body of its own: so that pixels tell limbs apart."""
    (body,), (track,) = scene.bodies, scene.tracks
    return dataclasses.replace(
        scene,
        bodies=tuple(dataclasses.replace(body, limbs=(limb,)) for limb in body.limbs),
        tracks=tuple(dataclasses.replace(track, limbs=(limb,)) for limb in track.limbs),
    )


@pytest.mark.parametrize("kind", OF_FIGURES)
def test_exact_flow_warps_the_next_frame_onto_this_one_on_every_limb(kind):
    """Away from the limbs' edges, and where both frames show the limb."""
    side = 128
    x, y = np.meshgrid(*2 * [np.arange(side, dtype=np.float32)])
    errors, unwarped, limbs_seen = [], [], set()
    options = Options(kinds=(kind,), frames=16, height=side, width=side, bodies=(1, 1))
    for index in range(3):
        clip = simulate(index, options, 5)
        scene, rng = draw_scene(index, options, 5)
        limbs = render(rng, as_limbs(scene), side, side, options.texture)
        np.testing.assert_array_equal(limbs.video, clip.video)
        np.testing.assert_array_equal(limbs.flow, clip.flow)
        near = np.ones((5, 5), np.uint8)
        pure = [cv2.erode(one, near) == cv2.dilate(one, near) for one in limbs.identity]
        for i, flow in enumerate(clip.flow):
            now, then = (clip.video[j].astype(np.float32) for j in (i, i + 1))
            u, v = x + flow[..., 0], y + flow[..., 1]
            warped = cv2.remap(then, u, v, cv2.INTER_LINEAR)
            column, row = (np.rint(axis).astype(int) for axis in (u, v))
            shown = (column > 0) & (column < side - 1) & (row > 0) & (row < side - 1)
            column, row = column.clip(0, side - 1), row.clip(0, side - 1)
            before = limbs.identity[i]
            shown &= (before > 0) & (before == limbs.identity[i + 1][row, column])
            shown &= pure[i] & pure[i + 1][row, column]
            errors.append(np.abs(warped - now).mean(-1)[shown])
            unwarped.append(np.abs(then - now).mean(-1)[shown])
            limbs_seen |= set(np.unique(before[shown]).tolist())
    assert len(limbs_seen) >= (7 if kind == "jump" else 8), "a far thigh may be hidden"
    assert np.concatenate(errors).mean() < 0.5
    assert np.concatenate(unwarped).mean() > 4
