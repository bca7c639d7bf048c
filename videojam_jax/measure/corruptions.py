"""Simulated clips that are wrong in a known way and by a known amount.

A measure of a clip's motion is trusted after it was seen to worsen, step by step, on
these. `CORRUPTIONS[name](index, options, seed, strength)` is clip `index` of the data set
that `options` and `seed` name, made wrong by `strength` in [0, 1]; 0 leaves it as it is,
bit for bit. The same arguments give the same frames.

- shuffle: this share of the frames change places with each other.
- jitter: in every frame every body is out of place, in x and in y, by normal noise of
  `0.1 * strength` of the frame's shorter side.
- vanish: the bodies are gone for this share of the frames, in the middle.
- teleport: in mid clip every body jumps by `0.5 * strength` of the frame's shorter side
  and moves on from there.
- deform: every body grows by 40 % of the strength, shrinks by as much and comes back,
  and twice becomes `e^strength` times as long as it is wide.
- freeze: in mid clip the frames stand still for this share of the clip; what comes
  after comes later, and the end is lost.
- reverse: time runs backwards; any strength above 0 is the whole of it.

Jitter, vanish, teleport and deform change the scene and draw it again, with the same
background and textures. Shuffle, freeze and reverse change the order of frames and are
there for any video too.

`POSE_CORRUPTIONS` are of the same kind, and of clips of a figure or a wheel alone. They change
how it holds itself and leave where it is, so that a figure may glide or enter the ground:

- still: the poses stand still for this share of the clip; a wheel stands.
- rock: every eight steps, half of this share of the steps are back to poses it had before.
- scatter: this share of the poses change places with each other.
- same leg: of walking and jogging; for this share of the clip, its end, near and far limbs are
  exchanged in every other step, so that each step is the same leg's.
- limbs: of figures; each limb grows by 40 % of the strength and shrinks by as much, at times of
  its own.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from videojam_jax.data import figures
from videojam_jax.data.render import render
from videojam_jax.data.scenes import ALONE, KINDS, OF_FIGURES
from videojam_jax.data.simulate import Options, draw_scene
from videojam_jax.data.stage import Scene, Track
from videojam_jax.errors import UserError

JITTER = 0.1  # of the frame's shorter side
TELEPORT = 0.5
GROWTH = 0.4
LENGTHENING = 1.0
ROCKING = 8  # steps
# Where a body is that is not there: far from any frame.
NOWHERE = -1e5

Video = UInt8[np.ndarray, "t h w 3"]
Corruption = Callable[[int, Options, int, float], Video]


def shuffle(
    video: Shaped[np.ndarray, "t ..."], strength: float, rng: np.random.Generator
) -> Shaped[np.ndarray, "t ..."]:
    """Frames in another order: a share `strength` of them, at least two, and none stays.

    Args:
      video: any clip.
      strength: from 0 (nothing changes) to 1 (every frame moves).
      rng: chance for which frames, and where to.
    """
    count = len(video)
    order, chosen = rng.permutation(count), np.arange(count)
    if strength > 0:
        moved = order[: min(count, max(2, round(strength * count)))]
        chosen[moved] = np.roll(moved, 1)  # one ring: each takes the place of the next
    return video[chosen]


def freeze(video: Shaped[np.ndarray, "t ..."], strength: float) -> Shaped[np.ndarray, "t ..."]:
    """The clip stands still in its middle, for a share `strength` of its steps.

    Args:
      video: any clip.
      strength: from 0 (nothing changes) to 1 (all frames are the first).
    """
    steps = len(video) - 1
    still = math.ceil(strength * steps)
    begin = (steps - still) // 2
    time = np.arange(len(video))
    return video[np.where(time <= begin, time, np.maximum(begin, time - still))]


def reverse(
    video: Shaped[np.ndarray, "t ..."], strength: float = 1.0
) -> Shaped[np.ndarray, "t ..."]:
    """Time runs backwards, for any `strength` above 0."""
    return video[::-1].copy() if strength > 0 else video


@dataclasses.dataclass(frozen=True)
class _Cause:
    """What a corruption of a scene may look at, besides the scene."""

    strength: float
    height: int
    width: int
    rng: np.random.Generator

    @property
    def side(self) -> int:
        return min(self.height, self.width)


def _moved(scene: Scene, offsets: Float[np.ndarray, "k t 2"]) -> Scene:
    def moved(part, offset: Float[np.ndarray, "t 2"]):
        return dataclasses.replace(part, position=part.position + offset)

    tracks = [
        dataclasses.replace(
            moved(track, offset), limbs=tuple(moved(limb, offset) for limb in track.limbs)
        )
        for track, offset in zip(scene.tracks, offsets, strict=True)
    ]
    return dataclasses.replace(scene, tracks=tuple(tracks))


def _jitter(scene: Scene, cause: _Cause) -> Scene:
    shape = (len(scene.tracks), len(scene.camera), 2)
    return _moved(scene, cause.strength * JITTER * cause.side * cause.rng.standard_normal(shape))


def _vanish(scene: Scene, cause: _Cause) -> Scene:
    frames = len(scene.camera)
    gone = math.ceil(cause.strength * frames)
    begin = (frames - gone) // 2
    offsets = np.zeros((len(scene.tracks), frames, 2))
    offsets[:, begin : begin + gone] = NOWHERE
    return _moved(scene, offsets)


def _teleport(scene: Scene, cause: _Cause) -> Scene:
    frames = len(scene.camera)
    half = frames // 2
    corner = np.array([cause.width, cause.height]) - 1.0
    offsets = np.zeros((len(scene.tracks), frames, 2))
    for track, offset in zip(scene.tracks, offsets, strict=True):
        # The way, of eight, on which it stays within the frame best.
        angles = (cause.rng.random() + np.arange(8)) * math.pi / 4
        jumps = np.stack([np.cos(angles), np.sin(angles)], -1)
        jumps *= cause.strength * TELEPORT * cause.side
        places = track.position[half:] - scene.camera[half:] + jumps[:, None]
        outside = np.maximum(np.maximum(-places, places - corner), 0).sum((1, 2))
        offset[half:] = jumps[np.argmin(outside)]
    return _moved(scene, offsets)


def _deform(scene: Scene, cause: _Cause) -> Scene:
    turn = 2 * math.pi * np.linspace(0, 1, len(scene.camera))
    size = 1 + GROWTH * cause.strength * np.sin(turn)
    aspect = np.exp(LENGTHENING * cause.strength * np.sin(turn) ** 2)
    stretch = np.stack([size * np.sqrt(aspect), size / np.sqrt(aspect)], -1)
    tracks = []
    for track in scene.tracks:
        limbs = (
            dataclasses.replace(
                limb,
                # Joints go apart as the limbs grow.
                position=track.position + size[:, None] * (limb.position - track.position),
                stretch=stretch,
            )
            for limb in track.limbs
        )
        tracks.append(dataclasses.replace(track, stretch=stretch, limbs=tuple(limbs)))
    return dataclasses.replace(scene, tracks=tuple(tracks))


def _posed(scene: Scene, when: Int[np.ndarray, "t"]) -> Scene:
    """Every body in the pose of another frame, where it is."""

    def posed(track: Track) -> Track:
        limbs = (
            dataclasses.replace(
                limb,
                position=track.position + (limb.position - track.position)[when],
                angle=limb.angle[when],
            )
            for limb in track.limbs
        )
        return dataclasses.replace(track, angle=track.angle[when], limbs=tuple(limbs))

    return dataclasses.replace(scene, tracks=tuple(posed(track) for track in scene.tracks))


def _still(scene: Scene, cause: _Cause) -> Scene:
    return _posed(scene, freeze(np.arange(len(scene.camera)), cause.strength))


def _rock(scene: Scene, cause: _Cause) -> Scene:
    step = np.arange(len(scene.camera) - 1) % ROCKING
    step = np.where(step < ROCKING * (1 - cause.strength / 2), 1, -1)
    return _posed(scene, np.concatenate([[0], np.cumsum(step)]))


def _scatter(scene: Scene, cause: _Cause) -> Scene:
    return _posed(scene, shuffle(np.arange(len(scene.camera)), cause.strength, cause.rng))


def _same_leg(scene: Scene, cause: _Cause) -> Scene:
    (track,) = scene.tracks
    times = np.arange(len(scene.camera))
    late = times >= (1 - cause.strength) * len(times)
    changed = late & (np.sin(scene.laws["phase"] + scene.laws["rate"] * times) < 0)
    limbs = list(track.limbs)
    for one, other in figures.PAIRS:
        first, second = track.limbs[one], track.limbs[other]
        for number, own, instead in ((one, first, second), (other, second, first)):
            limbs[number] = dataclasses.replace(
                own,
                position=np.where(changed[:, None], instead.position, own.position),
                angle=np.where(changed, instead.angle, own.angle),
            )
    return dataclasses.replace(scene, tracks=(dataclasses.replace(track, limbs=tuple(limbs)),))


def _limbs(scene: Scene, cause: _Cause) -> Scene:
    (track,) = scene.tracks
    turn = 2 * math.pi * np.linspace(0, 1, len(scene.camera))
    limbs = []
    for limb, begin in zip(track.limbs, cause.rng.random(len(track.limbs)), strict=True):
        longer = 1 + GROWTH * cause.strength * np.sin(turn + 2 * math.pi * begin)
        stretch = np.stack([np.ones_like(longer), longer], -1)
        limbs.append(dataclasses.replace(limb, stretch=stretch))
    for upper, lower in figures.JOINED:  # the lower limb hangs at the end of the upper one
        joint = track.limbs[upper].position
        arm = track.limbs[lower].position - joint
        place = joint + limbs[upper].stretch[:, 1:] * arm
        limbs[lower] = dataclasses.replace(limbs[lower], position=place)
    return dataclasses.replace(scene, tracks=(dataclasses.replace(track, limbs=tuple(limbs)),))


def _chance(index: int, seed: int) -> np.random.Generator:
    """Independent of what the clip is drawn from, and the same for every strength."""
    return np.random.default_rng(np.random.SeedSequence(int(seed), spawn_key=(int(index), 1)))


def _draw(index: int, options: Options, seed: int, edit: Callable[[Scene], Scene]) -> Video:
    scene, rng = draw_scene(index, options, seed)
    return render(rng, edit(scene), options.height, options.width, options.texture).video


def _checked(strength: float) -> float:
    if not 0 <= strength <= 1:
        raise UserError(f"corruption: strength is {strength}; it must be in [0, 1]")
    return strength


def _of_scene(
    change: Callable[[Scene, _Cause], Scene], kinds: tuple[str, ...] = tuple(KINDS)
) -> Corruption:
    def corrupt(index: int, options: Options, seed: int, strength: float) -> Video:
        if not set(options.kinds) <= set(kinds):
            raise UserError(f"corruption: kinds is {options.kinds}; it is of {', '.join(kinds)}")
        cause = _Cause(_checked(strength), options.height, options.width, _chance(index, seed))
        return _draw(
            index, options, seed, lambda scene: change(scene, cause) if strength > 0 else scene
        )

    return corrupt


def _of_video(change: Callable[[Video, float, np.random.Generator], Video]) -> Corruption:
    def corrupt(index: int, options: Options, seed: int, strength: float) -> Video:
        video = _draw(index, options, seed, lambda scene: scene)
        return change(video, _checked(strength), _chance(index, seed))

    return corrupt


CORRUPTIONS: Mapping[str, Corruption] = {
    "shuffle": _of_video(shuffle),
    "jitter": _of_scene(_jitter),
    "vanish": _of_scene(_vanish),
    "teleport": _of_scene(_teleport),
    "deform": _of_scene(_deform),
    "freeze": _of_video(lambda video, strength, _: freeze(video, strength)),
    "reverse": _of_video(lambda video, strength, _: reverse(video, strength)),
}

POSE_CORRUPTIONS: Mapping[str, Corruption] = {
    "still": _of_scene(_still, tuple(ALONE)),
    "rock": _of_scene(_rock, tuple(ALONE)),
    "scatter": _of_scene(_scatter, tuple(ALONE)),
    "same leg": _of_scene(_same_leg, ("walk", "jog")),
    "limbs": _of_scene(_limbs, OF_FIGURES),
}
