"""An articulated figure: its limbs, and its poses when it walks, jogs, jumps or turns over.

A figure is drawn of capsules: the limbs of the far side dark, head and trunk in between, the
limbs of the near side bright, so that a clip shows which leg is which. Poses are angles of the
joints in closed form; where the hips are follows from the feet: whatever touches the ground
stands still (`planted`).

Angles are radians from straight down, positive forwards (to the right, for a figure that faces
right); times are frames, lengths shares of the figure's height, y points down.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Int

FAR, MIDDLE, NEAR = 0.48, 0.78, 1.0  # brightness
TRUNK, ARM, THIGH, SHIN = 0.30, 0.36, 0.25, 0.25  # lengths
HEAD = 0.145  # radius
NECK = TRUNK + 0.8 * HEAD  # from the hips to the middle of the head
HEIGHT = THIGH + SHIN + NECK + HEAD  # of one that stands, in its own unit: about 1
SOLE = 0.067  # how far a foot reaches past its joint, of the height


@dataclasses.dataclass(frozen=True)
class Limb:
    """A capsule from a joint downwards at angle 0, in shares of the figure's height.

    Attributes:
      length: from the joint to the other end's middle; 0 is a disc.
      thickness: its radius.
      shade: brightness, 0 to 1.
    """

    length: float
    thickness: float
    shade: float


# In the order they are drawn.
LIMBS = (
    Limb(ARM, 0.05, FAR),
    Limb(THIGH, 0.075, FAR),
    Limb(SHIN, 0.067, FAR),
    Limb(TRUNK, 0.105, MIDDLE),
    Limb(0.0, HEAD, MIDDLE),
    Limb(THIGH, 0.075, NEAR),
    Limb(SHIN, 0.067, NEAR),
    Limb(ARM, 0.05, NEAR),
)
# By their places in `LIMBS`: far ones with their near ones, and limbs with what hangs on them.
PAIRS = ((0, 7), (1, 5), (2, 6))
JOINED = ((1, 2), (5, 6))
AREA = sum(math.pi * limb.thickness**2 + 2 * limb.thickness * limb.length for limb in LIMBS)


@dataclasses.dataclass(frozen=True)
class Pose:
    """Angles `[t]` of every limb against the vertical; of both sides, near and far.

    `trunk` is 0 where it stands upright, and positive where it leans forwards.
    """

    trunk: Float[np.ndarray, "t"]
    arms: tuple[Float[np.ndarray, "t"], Float[np.ndarray, "t"]]
    thighs: tuple[Float[np.ndarray, "t"], Float[np.ndarray, "t"]]
    shins: tuple[Float[np.ndarray, "t"], Float[np.ndarray, "t"]]


def _way(angle: Float[np.ndarray, "t"]) -> Float[np.ndarray, "t 2"]:
    """The unit vector at an angle from straight down."""
    return np.stack([np.sin(angle), np.cos(angle)], -1)


def limb_places(
    pose: Pose,
) -> list[tuple[Float[np.ndarray, "t 2"], Float[np.ndarray, "t"]]]:
    """Joint (from the hips) and angle of each of `LIMBS`, for a figure that faces right."""
    hips = np.zeros((len(pose.trunk), 2))
    up = math.pi - pose.trunk
    shoulder, head = 0.92 * TRUNK * _way(up), NECK * _way(up)
    near, far = (
        ((hips, thigh), (THIGH * _way(thigh), shin))
        for thigh, shin in zip(pose.thighs, pose.shins, strict=True)
    )
    near_arm, far_arm = ((shoulder, angle) for angle in pose.arms)
    return [far_arm, *far, (hips, up), (head, up), *near, near_arm]


def tips(pose: Pose) -> Float[np.ndarray, "4 t 2"]:
    """Where limbs end, from the hips: near hand, far hand, near foot, far foot."""
    ends = [
        joint + limb.length * _way(angle)
        for limb, (joint, angle) in zip(LIMBS, limb_places(pose), strict=True)
    ]
    return np.stack([ends[7], ends[0], ends[6], ends[2]])


def planted(
    reach: Float[np.ndarray, "k s 2"], standing: Int[np.ndarray, "s"] | None = None
) -> Float[np.ndarray, "s 2"]:
    """Where the hips are when the tip that carries them stands still on the ground.

    `x` from where they start, `y` from the ground (negative is above it).

    Args:
      reach: tips from the hips, at times close to each other.
      standing: which tip carries; None: the lowest.
    """
    if standing is None:
        standing = reach[..., 1].argmax(0)
    at = np.arange(reach.shape[1])
    # The tip that stands at the start of a small step stands to its end.
    gone = reach[standing[:-1], at[:-1], 0] - reach[standing[:-1], at[1:], 0]
    return np.stack([np.concatenate([[0.0], np.cumsum(gone)]), -reach[standing, at, 1]], -1)


def gait(
    phase: Float[np.ndarray, "t"], swing: float, knee: float, arms: float, lean: float
) -> Pose:
    """Walking or jogging: legs half a turn of the phase apart, each arm with the other leg.

    The leg that goes backwards is straight and may carry. The other one, before it is straight
    again, reaches up to 3 % of the height lower than it.

    Args:
      phase: of the near leg, radians; it is furthest forward at a quarter turn.
      swing: of the thighs, to each side.
      knee: how far the knee of the leg that goes forwards bends.
      arms: swing of the arms.
      lean: of the trunk, forwards.
    """
    phases = phase, phase + math.pi
    thighs = tuple(swing * np.sin(p) for p in phases)
    bends = (knee * np.maximum(np.cos(p), 0) ** 2 for p in phases)
    return Pose(
        np.full_like(phase, lean),
        tuple(-arms * np.sin(p) for p in phases),
        thighs,
        tuple(thigh - bend for thigh, bend in zip(thighs, bends, strict=True)),
    )


def squat(amount: Float[np.ndarray, "t"], raised: Float[np.ndarray, "t"]) -> Pose:
    """Both legs bent by `amount`, 0 to 1, and both arms swung up by `raised` radians."""
    apart = 0.1
    thighs = tuple(1.0 * amount + side for side in (apart, -apart))
    return Pose(
        0.3 * amount,
        tuple(raised + side for side in (2 * apart, -2 * apart)),
        thighs,
        tuple(thigh - 1.8 * amount for thigh in thighs),
    )


def cartwheel(turn: Float[np.ndarray, "t"]) -> Pose:
    """Arms and legs spread like spokes, the whole turned forwards by `turn` radians."""
    arm, leg = math.radians(132), math.radians(40)
    legs = tuple(side * leg - turn for side in (1, -1))
    return Pose(turn, tuple(side * arm - turn for side in (1, -1)), legs, legs)
