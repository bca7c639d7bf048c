"""Fixed features of a clip, for Frechet distances: no weights, no learning, no chance.

A feature's name carries its version: a change of what it computes is a new name, and
distances of different names may not be compared. Both have so few numbers that 64 clips
say what their covariance is, and both are taken after a logarithm or as shares, which
makes them more like the Gaussians that the distance takes them for.

What they see, as distances of 64 simulated clips (`Options()`, 64 x 64 x 16) from 64
others. The floor (`frechet.frechet_floor`) is 3.6 for appearance and 4.0 for motion, and
real clips of another seed are at 2.7 and 3.1:

    strength                  0.25    0.5      1
    appearance   blur          4.6   15.6   50.7    sigma 0.5, 0.9 and 1.5 pixels
                 noise        12.0    43.9  129.7    deviation of 8, 15 and 30 levels
                 vanish       110    441   1769
    motion       shuffle       85.2  118.6  139.8
                 slow          32.8   49.7   76.4    by a fifth, a third, a half
                 freeze        22.9   34.7  264.7
                 jitter        34.6   55.7   54.9
                 deform         3.8    5.9   18.4

Appearance is 2.7 for any order of the frames, and 2.4 to 2.9 for every wrong motion but
vanish. Motion is 3.1 after a tint by 15 % (appearance: 15.2) and 3.3 with the channels
exchanged. It hardly tells clips that run backwards (5.1), and not how far a body jumps
(teleport: 9.4, 9.2, 8.2). Noise disturbs the flow: it counts in both.
"""

import dataclasses
from collections.abc import Callable, Iterable

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from videojam_jax.measure.flow import measured_flow
from videojam_jax.measure.velocity import speed

Video = UInt8[np.ndarray, "t h w 3"]


@dataclasses.dataclass(frozen=True)
class Feature:
    """A fixed function of a clip.

    Attributes:
      name: with its version.
      meaning: what it looks at, in a sentence.
      dimensions: what each of its numbers is, in order.
      vector: from a clip to its numbers.
    """

    name: str
    meaning: str
    dimensions: tuple[str, ...]
    vector: Callable[[Video], Float64[np.ndarray, "d"]]

    def matrix(self, videos: Iterable[Video]) -> Float64[np.ndarray, "n d"]:
        """One row a clip."""
        rows = [self.vector(video) for video in videos]
        return np.stack(rows) if rows else np.zeros((0, len(self.dimensions)))


# Finest detail first: neighbouring pixels of the frame, and of the frame at a half, a
# quarter and an eighth of its size.
OCTAVES = 4
THUMBNAIL = 8
# The lowest cosines of a thumbnail of lightness, `(down, across)`; (0, 0) is its mean.
COSINES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
COLOURS = ("L", "a", "b")  # CIE L*a*b*

APPEARANCE_DIMENSIONS = (
    *(f"mean {colour}" for colour in COLOURS),
    *(f"log spread {colour}" for colour in COLOURS),
    "log spread chroma",
    *(f"log gradient 1/{2**octave}" for octave in range(OCTAVES)),
    *(f"log gradient chroma 1/{2**octave}" for octave in range(OCTAVES)),
    "log steepest edges",
    *(f"cosine {down}{across}" for down, across in COSINES),
)


def appearance(video: Video) -> Float64[np.ndarray, "d"]:
    """What the frames look like, each for itself: `APPEARANCE_DIMENSIONS`.

    In CIE L*a*b*, a value for each frame, averaged over the frames, whose order it
    therefore does not know:

    - mean and logarithm of the standard deviation of L, a and b, and of the chroma
      `sqrt(a^2 + b^2)`;
    - logarithm of the root mean square difference of neighbouring pixels, of L and of
      (a, b), at four scales: blur takes the fine ones away, noise adds to them;
    - logarithm of the mean of the steepest 2 % of differences in L;
    - the lowest cosines of the frame's layout, of an 8 x 8 thumbnail of L.
    """
    return np.mean([_appearance_of_frame(frame) for frame in video], axis=0)


def _appearance_of_frame(frame: UInt8[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "d"]:
    lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    spreads = [*lab.std((0, 1)), chroma.std()]
    light, colour, steepest = [], [], 0.0
    scaled = lab
    for octave in range(OCTAVES):
        across, down = scaled[:-1, 1:] - scaled[:-1, :-1], scaled[1:, :-1] - scaled[:-1, :-1]
        squares = across * across + down * down
        light.append(np.sqrt(squares[..., 0].mean()))
        colour.append(np.sqrt(squares[..., 1:].sum(-1).mean()))
        if octave == 0:
            most = max(1, squares[..., 0].size // 50)
            steepest = np.sqrt(np.partition(squares[..., 0].ravel(), -most)[-most:]).mean()
        half = (max(2, scaled.shape[1] // 2), max(2, scaled.shape[0] // 2))
        scaled = cv2.resize(scaled, half, interpolation=cv2.INTER_AREA)
    size = (THUMBNAIL, THUMBNAIL)
    layout = cv2.dct(cv2.resize(lab[..., 0], size, interpolation=cv2.INTER_AREA))
    return np.array(
        [
            *lab.mean((0, 1)),
            *_log(spreads),
            *_log(light),
            *_log(colour),
            *_log([steepest]),
            *(layout[down, across] for down, across in COSINES),
        ],
        np.float64,
    )


def _log(values, least: float = 0.1) -> Float64[np.ndarray, "n"]:
    """Logarithm of values of 0 or more, finite at 0."""
    return np.log(np.asarray(values, np.float64) + least)


# Speeds in parts of the frame's shorter side a frame, in steps of a factor of two: 0.25
# to 4 pixels at 64 x 64.
SPEEDS = tuple(2.0**k / 256 for k in range(5))
DIRECTIONS = ("right", "down", "left", "up")
BLOCKS = 3  # rows and columns

MOTION_DIMENSIONS = (
    *(f"log share faster than {256 * s:g}/256" for s in SPEEDS),
    *(f"log {way}" for way in DIRECTIONS),
    *(f"log speed in block {row}{column}" for row in range(BLOCKS) for column in range(BLOCKS)),
    "log change",
    "log change of two frames",
    "log change of mean speed",
    "log slowest frame",
    "speed of the second half less the first",
    "down in the second half less the first",
)


def motion(video: Video) -> Float64[np.ndarray, "d"]:
    """How things move, by the flow of DIS on grey frames: `MOTION_DIMENSIONS`.

    In parts of the frame's shorter side a frame:

    - logarithms of the shares of the pixels that are faster than five speeds;
    - logarithms of the mean motion to the right, down, to the left and up;
    - logarithms of the mean speed in 3 x 3 blocks of the frame;
    - logarithms of the mean change of the flow from one frame to the next and to the
      one after that, and of the frames' mean speed: shuffled and shaking clips change;
    - logarithm of the mean speed in the slowest quarter of the frames: frozen clips;
    - how much faster the second half is than the first, and how much more it goes down,
      as parts of the mean speed: which way time runs, where things fall.
    """
    side = min(video.shape[1:3])
    flow = measured_flow(video) / np.float32(side)
    speeds = speed(flow)
    u, v = flow[..., 0], flow[..., 1]
    ways = [np.maximum(part, 0).mean() for part in (u, v, -u, -v)]
    mean_speed = speeds.mean(0)
    blocks = cv2.resize(mean_speed, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA)
    frames = speeds.mean((1, 2))
    changes = [speed(flow[k:] - flow[:-k]).mean() if len(flow) > k else 0.0 for k in (1, 2)]
    change_of_speed = np.abs(np.diff(frames)).mean() if len(frames) > 1 else 0.0
    slowest = np.sort(frames)[: max(1, len(frames) // 4)].mean()
    half = len(frames) // 2
    first, second = slice(0, half), slice(len(frames) - half, None)
    later = [
        float(series[second].mean() - series[first].mean()) if half else 0.0
        for series in (frames, v.mean((1, 2)))
    ]
    whole = frames.mean() + 1e-3
    return np.array(
        [
            *_log([(speeds > s).mean() for s in SPEEDS], 1e-2),
            *_log(ways, 1e-3),
            *_log(blocks.ravel(), 1e-3),
            *_log(changes, 1e-3),
            *_log([change_of_speed], 1e-3),
            *_log([slowest], 1e-3),
            *(one / whole for one in later),
        ],
        np.float64,
    )


FEATURES: dict[str, Feature] = {
    "appearance": Feature(
        "appearance-moments-v1",
        "colour moments, contrast at four scales and layout of the frames, in CIE Lab; blind "
        "to their order",
        APPEARANCE_DIMENSIONS,
        appearance,
    ),
    "motion": Feature(
        "motion-histogram-v1",
        "speeds, directions, places and changes of the optical flow",
        MOTION_DIMENSIONS,
        motion,
    ),
}
