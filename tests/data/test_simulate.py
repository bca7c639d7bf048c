"""Simulated clips: their laws, their flow, their captions, and that a number names them."""

import dataclasses
import hashlib
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest

from videojam_jax.data.describe import describe
from videojam_jax.data.scenes import ALONE, OF_BODIES
from videojam_jax.data.shapes import SHAPES
from videojam_jax.data.simulate import KINDS, Options, simulate
from videojam_jax.data.stage import COLOURS, Body, Scene
from videojam_jax.errors import UserError

QUICK = Options(frames=8, height=32, width=32, bodies=(1, 1), pan=0.0)


def clips(kind: str, count: int = 6, **changes):
    options = Options(kinds=(kind,), **changes)
    return [simulate(index, options, seed=5) for index in range(count)]


def world(states) -> np.ndarray:
    """Places `[t, k, 2]` where the camera's motion is taken out."""
    return (states.position + states.camera[:, None]).astype(np.float64)


def digest(clip) -> str:
    parts = (clip.video, clip.flow, clip.states.position, clip.states.identity)
    whole = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    return hashlib.sha256(whole + clip.caption.encode()).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 16, 16), (8, 32, 48), (5, 40, 24)])
def test_arrays_have_the_shapes_asked_for(kind, shape):
    frames, height, width = shape
    for clip in clips(kind, 3, frames=frames, height=height, width=width):
        assert clip.kind == kind
        assert clip.video.shape == (*shape, 3) and clip.video.dtype == np.uint8
        assert clip.flow.shape == (frames - 1, height, width, 2)
        assert clip.flow.dtype == np.float32 and np.isfinite(clip.flow).all()
        count = len(clip.states.shapes)
        assert clip.states.position.shape == clip.states.velocity.shape == (frames, count, 2)
        assert clip.states.angle.shape == clip.states.visible_area.shape == (frames, count)
        assert clip.states.identity.shape == shape and clip.states.identity.max() <= count


def test_clip_is_a_function_of_index_options_and_seed_alone():
    options = Options()
    first = [digest(simulate(i, options, 3)) for i in range(6)]
    again = [digest(simulate(i, pickle.loads(pickle.dumps(options)), 3)) for i in range(5, -1, -1)]
    assert first == again[::-1]
    assert len(set(first)) == 6
    assert digest(simulate(0, options, 4)) not in first
    # An index and a seed are two numbers, not one sum.
    assert digest(simulate(3, options, 0)) != digest(simulate(0, options, 3))


# Of `simulate(0 .. 7, Options(kinds=(kind,), frames=8, height=32, width=32), 0)`, drawn before
# there were figures and wheels: what is trained and measured with these clips stays what it was.
DIGESTS = {
    "fall": "cfe60b496b1aa577",
    "bounce": "170d0f466dbae9f2",
    "collide": "c547cb69abec964a",
    "roll": "2f498d25e9f51d39",
    "swing": "bee6bf256ae3f6e9",
    "spin": "ade462b65b542c1d",
}


@pytest.mark.parametrize("kind", OF_BODIES)
def test_clips_of_bodies_are_bit_for_bit_what_they_were(kind):
    options = Options(kinds=(kind,), frames=8, height=32, width=32)
    drawn = "".join(digest(simulate(index, options, 0)) for index in range(8))
    assert hashlib.sha256(drawn.encode()).hexdigest()[:16] == DIGESTS[kind]


def test_kinds_are_those_of_bodies_unless_others_are_asked_for():
    assert Options().kinds == OF_BODIES
    assert set(KINDS) == {*OF_BODIES, *ALONE}


def test_another_process_draws_the_same_clips():
    script = (
        "import sys, hashlib\n"
        "from videojam_jax.data.simulate import Options, simulate\n"
        "clip = simulate(7, Options(), 11)\n"
        "print(hashlib.sha256(clip.video.tobytes() + clip.flow.tobytes()).hexdigest())"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    clip = simulate(7, Options(), 11)
    here = hashlib.sha256(clip.video.tobytes() + clip.flow.tobytes()).hexdigest()
    assert run.stdout.strip() == here


def test_falling_bodies_share_one_constant_gravity():
    for clip in clips("fall"):
        second = np.diff(world(clip.states), 2, axis=0)
        wanted = [0.0, clip.states.laws["gravity"]]
        np.testing.assert_allclose(second, np.broadcast_to(wanted, second.shape), atol=2e-4)
        assert clip.states.laws["gravity"] > 0


@pytest.mark.parametrize("kind", [*OF_BODIES, "wheel"])
def test_velocity_is_the_rate_of_change_of_position(kind):
    for clip in clips(kind, frames=24):
        # Where a bounce or a collision falls between two frames, no difference tells the speed:
        # compare the frames in which speed hardly changes, which are most.
        mean = (clip.states.velocity[1:] + clip.states.velocity[:-1]) / 2
        error = np.abs(np.diff(clip.states.position, axis=0) - mean).max(-1)
        assert np.median(error) < 0.02, clip.caption
        assert (error < 0.05).mean() > 0.7, clip.caption


def test_bouncing_bodies_stay_above_the_ground_and_reach_it():
    for clip in clips("bounce", bodies=(1, 2), frames=32):
        states = clip.states
        below = [SHAPES[shape].below for shape in states.shapes]
        feet = world(states)[..., 1] + states.radius * below
        assert (feet <= states.laws["ground"] + 1e-3).all(), clip.caption
        turned = (np.diff(np.sign(np.diff(feet, axis=0)), axis=0) < 0).any(0)
        assert turned.all(), clip.caption


def test_bouncing_body_rises_with_the_restitution_it_is_given():
    for clip in clips("bounce", bodies=(1, 1), frames=200, pan=0.0):
        gravity, restitution = clip.states.laws["gravity"], clip.states.laws["restitution"]
        below = SHAPES[clip.states.shapes[0]].below * clip.states.radius[0]
        height = clip.states.laws["ground"] - below - clip.states.position[:, 0, 1]
        energy = gravity * height + clip.states.velocity[:, 0, 1] ** 2 / 2
        first = np.flatnonzero(energy[1:] < 0.99 * energy[:-1])[0]
        assert energy[first + 1] / energy[first] == pytest.approx(restitution**2, abs=1e-3)


def test_collision_conserves_momentum_and_energy_with_masses_by_area():
    for clip in clips("collide", 12, bodies=(2, 2)):
        mass = clip.states.mass[:, None].astype(np.float64)
        velocity = clip.states.velocity.astype(np.float64)
        momentum = (mass * velocity).sum(1)
        np.testing.assert_allclose(
            momentum, momentum[:1].repeat(16, 0), atol=1e-5 * np.abs(mass).sum()
        )
        # Energy is the same for a camera at rest only.
        own = velocity + np.gradient(clip.states.camera, axis=0)[:, None]
        energy = (mass * own**2).sum((1, 2))
        np.testing.assert_allclose(energy, energy[0], rtol=1e-4)
        assert np.abs(velocity[-1, 0] - velocity[0, 0]).max() > 0.1, "they meet within the clip"


def test_colliding_bodies_touch_but_do_not_enter_each_other():
    for clip in clips("collide", 20, bodies=(2, 2)):
        gap = np.linalg.norm(clip.states.position[:, 0] - clip.states.position[:, 1], axis=-1)
        reach = sum(
            SHAPES[shape].ahead * radius
            for shape, radius in zip(clip.states.shapes, clip.states.radius, strict=True)
        )
        speed = np.linalg.norm(clip.states.velocity[0, 0] - clip.states.velocity[0, 1])
        assert gap.min() >= reach - 1e-3, clip.caption
        assert gap.min() <= reach + speed, clip.caption


def test_single_body_collides_with_a_wall():
    for clip in clips("collide", bodies=(1, 1), pan=0.0):
        assert clip.caption.endswith("hits a wall")
        velocity = clip.states.velocity[:, 0]
        np.testing.assert_allclose(velocity[-1], velocity[0] * [-1, 1], atol=1e-5)


def test_rolling_angle_is_the_way_over_the_radius():
    for clip in clips("roll"):
        states = clip.states
        direction = states.laws["direction"]
        way = np.linalg.norm(world(states) - world(states)[:1], axis=-1)
        turned = states.angle - states.angle[:1]
        np.testing.assert_allclose(turned, direction * way / states.radius, atol=1e-4)


def test_rolling_body_stands_still_where_it_touches_the_ground():
    for clip in clips("roll", bodies=(1, 1), pan=0.0):
        states, slope = clip.states, clip.states.laws["slope"]
        down = np.array([-np.sin(slope) * states.laws["direction"], np.cos(slope)])
        rate = np.gradient(states.angle[:, 0], edge_order=2)[:, None]
        # The velocity of the touching point: w x r, in image axes (clockwise is positive).
        arm = states.radius[0] * down
        touching = states.velocity[:, 0] + rate * np.array([-arm[1], arm[0]])
        np.testing.assert_allclose(touching, 0, atol=2e-4)


def test_pendulum_keeps_its_rod_and_its_energy():
    for clip in clips("swing", bodies=(1, 2), frames=40):
        states = clip.states
        up = np.stack([np.sin(states.angle), -np.cos(states.angle)], -1)
        pivot = world(states) + states.rod[:, None] * up
        np.testing.assert_allclose(pivot, pivot[:1].repeat(40, 0), atol=1e-3)
        own = states.velocity + np.gradient(states.camera, axis=0)[:, None]
        energy = 0.5 * (own**2).sum(-1) - states.laws["gravity"] * world(states)[..., 1]
        swing = 0.5 * (own**2).sum(-1).max(0)
        assert (np.ptp(energy, axis=0) < 1e-3 * swing).all()


def test_spinning_bodies_turn_and_drift_at_constant_rates():
    for clip in clips("spin"):
        np.testing.assert_allclose(np.diff(clip.states.angle, 2, axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(np.diff(clip.states.position, 2, axis=0), 0, atol=1e-4)
        assert (np.abs(np.diff(clip.states.angle, axis=0)) >= 0.12 - 1e-5).all()


def _unmixed(identity: np.ndarray) -> np.ndarray:
    """Pixels at least two pixels from another surface."""
    near = np.ones((5, 5), np.uint8)
    return cv2.erode(identity, near) == cv2.dilate(identity, near)


@pytest.mark.parametrize("kind", [*OF_BODIES, "wheel"])
def test_exact_flow_warps_the_next_frame_onto_this_one(kind):
    """Within 2 levels of 255 on average on the bodies (30 without warping), 0.5 behind them.

    Away from edges, and where both frames show the surface. What is left is the
    rounding to 8 bits and the bilinear reading of a texture of a few pixels.
    """
    errors = {"bodies": [], "background": []}
    unwarped = []
    for clip in clips(kind, 6):
        x, y = np.meshgrid(np.arange(64, dtype=np.float32), np.arange(64, dtype=np.float32))
        for i, flow in enumerate(clip.flow):
            now, then = (clip.video[j].astype(np.float32) for j in (i, i + 1))
            u, v = x + flow[..., 0], y + flow[..., 1]
            warped = cv2.remap(then, u, v, cv2.INTER_LINEAR)
            column, row = (np.rint(a).astype(int) for a in (u, v))
            shown = (column > 0) & (column < 63) & (row > 0) & (row < 63)
            column, row = column.clip(0, 63), row.clip(0, 63)
            before, after = clip.states.identity[i], clip.states.identity[i + 1]
            shown &= before == after[row, column]
            shown &= _unmixed(before) & _unmixed(after)[row, column]
            error = np.abs(warped - now).mean(-1)
            errors["bodies"].append(error[shown & (before > 0)])
            unwarped.append(np.abs(then - now).mean(-1)[shown & (before > 0)])
            if kind != "swing":  # the rod is neither a body nor the background
                errors["background"].append(error[shown & (before == 0)])
    bodies = np.concatenate(errors["bodies"]).mean()
    assert bodies < 2.0, bodies
    assert np.concatenate(unwarped).mean() > 4 * bodies
    if kind != "swing":
        assert np.concatenate(errors["background"]).mean() < 0.5


def test_flow_of_a_body_is_its_motion_turn_included():
    clip = simulate(0, dataclasses.replace(QUICK, kinds=("spin",)), 2)
    states = clip.states
    for i, flow in enumerate(clip.flow):
        rows, columns = np.nonzero(states.identity[i] == 1)
        arm = np.stack([columns, rows], -1) - states.position[i, 0]
        turn = states.angle[i + 1, 0] - states.angle[i, 0]
        c, s = np.cos(turn), np.sin(turn)
        there = states.position[i + 1, 0] + arm @ np.array([[c, s], [-s, c]])
        wanted = there - np.stack([columns, rows], -1)
        np.testing.assert_allclose(flow[rows, columns], wanted, atol=1e-4)


def test_background_flows_against_the_camera():
    panned = [clip for clip in clips("fall", 12, pan=1.5) if "camera" in clip.caption]
    assert panned
    for clip in panned:
        step = np.diff(clip.states.camera, axis=0)
        assert 0 < np.abs(step).max() <= 1.5
        back = clip.states.identity[:-1] == 0
        for i in range(15):
            np.testing.assert_allclose(
                clip.flow[i][back[i]], np.broadcast_to(-step[i], (back[i].sum(), 2)), atol=1e-5
            )


def test_fixed_camera_leaves_the_background_as_it_is():
    for clip in clips("spin", pan=0.0):
        assert "camera" not in clip.caption
        back = (clip.states.identity == 0) & (clip.states.identity[:1] == 0)
        still = _unmixed(clip.states.identity[3]) & _unmixed(clip.states.identity[0]) & back[3]
        np.testing.assert_array_equal(clip.video[3][still], clip.video[0][still])
        assert not clip.flow[2][clip.states.identity[2] == 0].any()


def test_later_bodies_hide_earlier_ones():
    """In some frame of some clip two discs overlap, and the later one is seen whole."""
    hidden = 0
    for clip in clips("spin", 40, bodies=(3, 3), pan=0.0):
        full = np.pi * clip.states.radius**2
        for k, shape in enumerate(clip.states.shapes):
            if shape != "disc":
                continue
            edge = clip.states.radius[k] + 1
            inside = ((clip.states.position[:, k] > edge) & (
                clip.states.position[:, k] < 63 - edge)).all(-1)  # fmt: skip
            share = clip.states.visible_area[inside, k] / full[k]
            if k == 2:
                np.testing.assert_allclose(share, 1, atol=0.08)
            else:
                hidden += np.count_nonzero(share < 0.8)
    assert hidden > 0


def test_caption_names_number_colours_shapes_motion_and_camera():
    verbs = {"fall": "fall", "bounce": "bounce", "collide": "hits", "roll": "roll",
             "swing": "swing", "spin": "spin"}  # fmt: skip
    numbers = {2: "two bodies", 3: "three bodies"}
    for index in range(60):
        clip = simulate(index, Options(), seed=1)
        for colour, shape in zip(clip.states.colours, clip.states.shapes, strict=True):
            assert f"{colour} {shape}" in clip.caption
        assert verbs[clip.kind] in clip.caption
        count = len(clip.states.shapes)
        if clip.kind != "collide" and count > 1:
            assert clip.caption.startswith(numbers[count])
        moved = np.abs(clip.states.camera[-1] - clip.states.camera[0]).max() > 0
        assert moved == ("the camera pans" in clip.caption)
        assert len(clip.caption) < 128


@pytest.mark.parametrize(
    "kind, names, pan, laws, caption",
    [
        ("fall", ["red disc"], (0, 0), {}, "a red disc falls"),
        ("bounce", ["orange star"], (0, 0), {}, "an orange star bounces on the ground"),
        ("collide", ["blue square", "green disc"], (0, 0), {}, "a blue square hits a green disc"),
        ("collide", ["pink ring"], (-3, 0), {}, "a pink ring hits a wall, the camera pans left"),
        (
            "roll",
            ["cyan disc"],
            (0, 0),
            {"slope": 0.2, "direction": -1},
            "a cyan disc rolls down a slope to the left",
        ),
        (
            "roll",
            ["red disc", "yellow ring"],
            (0, 4),
            {"slope": 0.0, "direction": 1},
            "two bodies roll to the right: a red disc and a yellow ring, the camera pans down",
        ),
        (
            "swing",
            ["red disc", "blue star", "orange ring"],
            (0, 0),
            {},
            "three bodies swing on rods: a red disc, a blue star and an orange ring",
        ),
        (
            "spin",
            ["purple triangle"],
            (2, 0),
            {},
            "a purple triangle spins and drifts, the camera pans right",
        ),
        ("wheel", ["blue wheel"], (0, 0), {"direction": 1}, "a blue wheel turns clockwise"),
        (
            "wheel",
            ["orange wheel"],
            (0, -2),
            {"direction": -1},
            "an orange wheel turns counter-clockwise, the camera pans up",
        ),
        (
            "walk",
            ["red figure"],
            (-2, 0),
            {"direction": -1},
            "a red figure walks to the left, the camera pans left",
        ),
        ("jog", ["pink figure"], (0, 0), {"direction": 1}, "a pink figure jogs to the right"),
        ("jump", ["cyan figure"], (0, 0), {"direction": 1}, "a cyan figure jumps to the right"),
        (
            "cartwheel",
            ["green figure"],
            (0, 0),
            {"direction": 1},
            "a green figure turns a cartwheel to the right",
        ),
    ],
)
def test_caption_reads_like_this(kind, names, pan, laws, caption):
    shapes = {**SHAPES, **{shape.name: shape for shape in ALONE.values()}}
    bodies = [(name.split()[1], name.split()[0]) for name in names]
    bodies = tuple(Body(shapes[shape], colour, "dots", 5.0) for shape, colour in bodies)
    camera = np.array([(0.0, 0.0), pan])
    assert describe(Scene(kind, bodies, (), camera, (), laws)) == caption


def test_every_kind_shape_and_colour_comes_up():
    drawn = [simulate(i, QUICK, 0) for i in range(150)]
    assert {clip.kind for clip in drawn} == set(OF_BODIES)
    assert {clip.states.shapes[0] for clip in drawn} == set(SHAPES)
    assert {clip.states.colours[0] for clip in drawn} == set(COLOURS)


def test_quickstart_clips_show_one_large_body_in_plain_motion():
    for index in range(40):
        states = simulate(index, QUICK, 0).states
        assert len(states.shapes) == 1
        assert 32 / 8 <= states.radius[0] <= 32 / 3.5
        path = np.linalg.norm(np.diff(states.position[:, 0], axis=0), axis=-1).mean()
        assert 0.9 <= path <= 5, (index, path)
        assert np.median(states.visible_area) >= 0.04 * 32 * 32


def test_bodies_are_saturated_and_the_background_is_muted():
    for index in range(20):
        clip = simulate(index, Options(), 2)
        frame, identity = clip.video[8], clip.states.identity[8]
        saturation = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)[..., 1] / 255
        pure = _unmixed(identity)
        assert (saturation[pure & (identity == 0)] < 0.2).all()
        assert (saturation[pure & (identity > 0)] > 0.7).all()


@pytest.mark.parametrize("name", SHAPES)
def test_shape_has_the_area_and_the_reach_it_states(name):
    shape = SHAPES[name]
    axis = np.linspace(-1.2, 1.2, 961, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    inside = shape.distance(x, y) < 0
    assert inside.mean() * 2.4**2 == pytest.approx(shape.area, rel=0.01)
    assert np.hypot(x, y)[inside].max() == pytest.approx(1, abs=0.02)
    assert y[inside].max() == pytest.approx(shape.below, abs=0.02)
    turned = np.cos(shape.facing) * x - np.sin(shape.facing) * y
    assert turned[inside].max() == pytest.approx(shape.ahead, abs=0.02)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"kinds": ("fall", "rol")}, "unknown kind 'rol'; did you mean 'roll'? known: fall, "),
        ({"kinds": ()}, "kinds is empty; choose from fall"),
        ({"bodies": (0, 2)}, r"bodies is \(0, 2\); it must be"),
        ({"bodies": (3, 2)}, r"bodies is \(3, 2\); it must be"),
        ({"frames": 1}, "frames is 1; it must be at least 2"),
        ({"height": 8}, "height is 8; it must be at least 16"),
        ({"fps": 0.0}, "fps is 0.0; it must be above 0"),
        ({"pan": -1.0}, "config.source.pan = -1.0: at least 0.0"),
    ],
)
def test_options_that_cannot_be_used_are_refused_by_name(changes, words):
    with pytest.raises(UserError, match=words.replace("?", r"\?")):
        Options(**changes)


@pytest.mark.parametrize("index, seed, name", [(-1, 0, "index"), (0, -1, "seed")])
def test_negative_index_or_seed_is_refused(index, seed, name):
    with pytest.raises(UserError, match=f"{name} is -1"):
        simulate(index, QUICK, seed)
