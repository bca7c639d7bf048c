"""How a figure moves: one function a kind.

Each makes a pose for every time and says where the hips are: whatever carries the figure stands
still on the ground. A figure that goes to the left is the mirror image of one that goes to the
right. Figures cross the frame; in clips of more frames than an event has (`stage.LONGEST_EVENT`)
they go on at the same rate, and the camera keeps up with them.
"""

import numpy as np
from jaxtyping import Float

from videojam_jax.data import figures
from videojam_jax.data.stage import SUBSTEPS, Body, LimbTrack, Solid, Stage, Track

# A figure's height, of the frame's shorter side: as large as leaves it room to move.
HEIGHTS = {
    "walk": (0.66, 0.8),
    "jog": (0.62, 0.70),
    "jump": (0.52, 0.60),
    "cartwheel": (0.56, 0.62),
}
WAY = 0.5  # of the frame's width: what a figure goes in it with which the camera keeps up


def figure_track(
    times: Float[np.ndarray, "s"],
    pose: figures.Pose,
    hips: Float[np.ndarray, "s 2"],
    height: float,
    direction: float,
) -> Track:
    """A figure from its pose and its hips' way at close times.

    Args:
      times: `Stage.fine_times`; of those that are whole numbers the frames are made.
      pose: of a figure that faces right, at these times.
      hips: their way in the world, pixels.
      height: of the figure, pixels.
      direction: 1 where it faces right, -1 left.
    """
    mirror = np.array([direction, 1.0])
    whole = slice(None, None, SUBSTEPS)
    limbs = tuple(
        # Drawn angles are clockwise on the screen, a figure's are against it.
        LimbTrack((hips + height * joint * mirror)[whole], -direction * angle[whole])
        for joint, angle in figures.limb_places(pose)
    )
    velocity = np.gradient(hips, times, axis=0)
    return Track(hips[whole], velocity[whole], direction * pose.trunk[whole], limbs=limbs)


def _on_ground(
    stage: Stage,
    body: Body,
    ground: float,
    direction: float,
    pose: figures.Pose,
    hips: Float[np.ndarray, "s 2"],
    reach: float,
):
    """Puts a figure somewhere across the frame: its track, and what it stands on.

    Args:
      ground: its height in the image, pixels.
      direction: 1 to the right, -1 to the left.
      pose: at the stage's fine times.
      hips: their way to the right from where they start, and their height above the lowest
        joint that touches the ground (negative), pixels.
      reach: of the figure to each side of its hips, of its height.
    """
    height = 2 * body.radius
    hips = hips * np.array([direction, 1.0])
    low, high = hips[:, 0].min() - reach * height, hips[:, 0].max() + reach * height
    free = stage.width - 1 - (high - low)
    start = stage.between(min(free, 0.0), max(free, 0.0))
    if free < 0 and stage.last > stage.event:
        start = free / 2  # in the middle of the frame in the middle of the clip
    hips = hips + np.array([start - low, ground - height * figures.SOLE])
    track = figure_track(stage.fine_times, pose, hips, height, direction)
    return [track], (Solid((0.0, ground), (0.0, -1.0)),)


def _begin(stage: Stage, bodies: tuple[Body, ...]) -> tuple[Body, float, float, float]:
    """The one body, its direction, its height and that of the ground in pixels."""
    (body,), direction = bodies, stage.sign()
    return body, direction, 2 * body.radius, stage.between(0.86, 0.95) * stage.height


def _on_foot(
    stage: Stage,
    bodies: tuple[Body, ...],
    steps: tuple[float, float],
    swing: float,
    knee: float,
    arms: float,
    lean: float,
):
    """A figure on its feet, which do not slip; `figures.gait` has what the rest means.

    Args:
      steps: least and most in the frames of an event.
    """
    body, direction, height, ground = _begin(stage, bodies)
    rate = np.pi * stage.between(*steps) / stage.event
    swing *= stage.between(0.85, 1.0)
    phase = stage.between(0, 2 * np.pi) + rate * stage.fine_times
    pose = figures.gait(phase, swing, knee, arms, lean)
    # The leg that goes backwards carries; the other passes it with its knee bent.
    hips = height * figures.planted(figures.tips(pose)[2:], np.where(np.cos(phase) < 0, 0, 1))
    tracks, solids = _on_ground(stage, body, ground, direction, pose, hips, 0.2)
    laws = {"ground": ground, "direction": direction, "phase": float(phase[0]), "rate": rate}
    return tracks, solids, laws


def _walk(stage: Stage, bodies: tuple[Body, ...]):
    return _on_foot(stage, bodies, (1.7, 2.3), swing=0.42, knee=0.6, arms=0.40, lean=0.04)


def _jog(stage: Stage, bodies: tuple[Body, ...]):
    return _on_foot(stage, bodies, (1.9, 2.4), swing=0.50, knee=1.5, arms=0.75, lean=0.22)


def _jump(stage: Stage, bodies: tuple[Body, ...]):
    """A figure squats, flies on a parabola and lands."""
    body, direction, height, ground = _begin(stage, bodies)
    times = stage.fine_times
    off = stage.between(0.18, 0.28) * stage.event
    down = stage.between(0.75, 0.85) * stage.event
    air = np.clip((times - off) / (down - off), 0, 1)
    # A squat before it leaves the ground and after it is back, legs drawn up in between.
    before = np.sin(np.pi * np.clip(times / off, 0, 1))
    after = np.sin(np.pi * np.clip((times - down) / (0.2 * stage.event), 0, 1))
    amount = 0.75 * before + 0.85 * np.sin(np.pi * air) + 0.75 * after
    raised = 2.4 * np.sin(np.pi * np.clip((times - 0.6 * off) / (down - 0.6 * off), 0, 1)) ** 2
    pose = figures.squat(amount, raised)
    reach = figures.tips(pose)[2:, :, 1].max(0)
    room = ground - height * (1.0 + figures.SOLE)
    top = stage.between(0.6, 1.0) * max(room, 0.1 * stage.side)
    # In the air the hips are on the parabola of a figure that stands; the legs come to them.
    flies = (air > 0) & (air < 1)
    up = np.where(flies, -reach[0] * height - 4 * top * air * (1 - air), -reach * height)
    wide = stage.between(0.15, 0.4) * stage.width
    hips = np.stack([wide * air, up], -1)
    tracks, solids = _on_ground(stage, body, ground, direction, pose, hips, 0.2)
    laws = {"ground": ground, "direction": direction, "off": off, "down": down}
    return tracks, solids, {**laws, "gravity": 8 * top / (down - off) ** 2}


def _cartwheel(stage: Stage, bodies: tuple[Body, ...]):
    """A figure turns over hands and feet, each of which stands while it carries."""
    body, direction, height, ground = _begin(stage, bodies)
    rate = stage.between(2.2, 3.0) / stage.event
    turn = rate * stage.fine_times + stage.between(-0.3, 0.3)
    pose = figures.cartwheel(turn)
    hips = height * figures.planted(figures.tips(pose))
    tracks, solids = _on_ground(stage, body, ground, direction, pose, hips, 0.25)
    return tracks, solids, {"ground": ground, "direction": direction, "rate": rate}


KINDS = {"walk": _walk, "jog": _jog, "jump": _jump, "cartwheel": _cartwheel}


def following(
    stage: Stage, camera: Float[np.ndarray, "t 2"], track: Track, direction: float
) -> Float[np.ndarray, "t 2"]:
    """The camera's way where it pans with a figure, as fast as it would elsewhere.

    In clips of more frames than an event has it goes as fast as keeps the figure in sight.
    """
    speed = np.abs(camera).max() / (stage.last / 2)
    if stage.last > stage.event:
        gone = abs(track.position[-1, 0] - track.position[0, 0])
        speed = max(speed, (gone - WAY * stage.width) / stage.last)
    way = direction * speed * (stage.times - stage.last / 2)
    return np.stack([way, np.zeros(stage.frames)], -1)
