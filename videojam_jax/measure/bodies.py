"""Are there moving bodies in a clip? Measured from its pixels alone.

Made for the simulated clips and for what a model trained on them shows: bodies
of saturated colour before a muted background.

1. A **blob** is a connected region of saturated pixels of one hue (within 60
   degrees), at least 1 % and at most 30 % of the frame. A frame of which more
   than half is saturated has no background and so no blobs.
2. A **track** follows one blob from frame to frame by its place and hue; it may
   be hidden for two frames.
3. A tracked blob is a **moving body** when
   - in at least 3/4 of the clip's frames, its steady frames, it keeps its size
     and colour: an area within 35 % of its median area, a mean RGB within 40
     levels of 255 of the median;
   - two of its steady places are at least 1/10 of the frame's shorter side and
     1/4 of its own size (the root of its median area) apart: it moves;
   - its steps `v[i]` change little from one frame to the next:
     `mean |v[i + 1] - v[i]| <= 0.8 mean |v[i]|`, where the mean on the left
     leaves out the greatest change, which may be a bounce: it moves smoothly. In
     shuffled frames steps change by about 1.7 times their length.

All thresholds are the defaults of `Rules`.

`metrics.tracked` follows bodies too, but knows eight colours by name and learns each body's
form, so as to measure places behind others. It is no stand-in: of 64 samples of a small model
it finds about as many with a moving body (42 %, where this finds 39 %), but judges a quarter of
them otherwise.
What both take for a body's pixel, and how both pair bodies of two frames, stands here.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

HUES = 180  # OpenCV's hue circle for 8-bit images: two degrees a unit


@dataclasses.dataclass(frozen=True)
class Rules:
    """Thresholds; sizes are shares of the frame's area, distances of its shorter side.

    Attributes:
      saturation, value: least HSV saturation and value of a body's pixel, 0 to 1.
      smallest, largest: area of a blob.
      background: least share of the frame that is not saturated.
      jump: longest way from one frame to the next.
      hue: greatest change of hue from one frame to the next, in degrees.
      gap: most frames in a row in which a body may be hidden.
      seen: least share of the frames in which it is steady.
      area: greatest relative deviation from its median area there.
      colour: greatest distance from its median colour there, in levels of 255.
      way, own_way: least way, of the shorter side and of the body's own size.
      bend: greatest mean change of its step, of its mean step.
    """

    saturation: float = 0.45
    value: float = 0.2
    smallest: float = 0.01
    largest: float = 0.3
    background: float = 0.5
    jump: float = 0.3
    hue: float = 24.0
    gap: int = 2
    seen: float = 0.75
    area: float = 0.35
    colour: float = 40.0
    way: float = 0.1
    own_way: float = 0.25
    bend: float = 0.8


@dataclasses.dataclass(frozen=True)
class Blob:
    """One region: centre `(x, y)` in pixels, area in pixels, mean RGB, mean hue in degrees."""

    centre: tuple[float, float]
    area: int
    colour: tuple[float, float, float]
    hue: float


@dataclasses.dataclass(frozen=True)
class Track:
    """One blob through time: the frames it is seen in, and what it is there."""

    frames: list[int]
    blobs: list[Blob]


def find_bodies(video: UInt8[np.ndarray, "t h w 3"], rules: Rules = Rules()) -> list[list[Blob]]:
    """The blobs of each frame, largest first."""
    return [_find(frame, rules) for frame in video]


def vivid_pixels(
    hsv: UInt8[np.ndarray, "*t h w 3"], rules: Rules = Rules()
) -> Bool[np.ndarray, "*t h w"]:
    """Those that may be a body's: none of a frame that has no background, see `Rules`."""
    vivid = (hsv[..., 1] >= 255 * rules.saturation) & (hsv[..., 2] >= 255 * rules.value)
    return vivid & (vivid.mean((-2, -1), keepdims=True) <= 1 - rules.background)


def nearest_first(pairs: Sequence[tuple[float, int, int]]) -> Iterator[tuple[int, int]]:
    """Of `(distance, i, j)` the nearest pairs `(i, j)` that leave each i and j in one pair.

    >>> list(nearest_first([(3.0, 0, 0), (1.0, 0, 1), (2.0, 1, 1), (4.0, 1, 0)]))
    [(0, 1), (1, 0)]
    """
    taken_i, taken_j = set(), set()
    for _, i, j in sorted(pairs):
        if i not in taken_i and j not in taken_j:
            taken_i.add(i)
            taken_j.add(j)
            yield i, j


def _find(frame: UInt8[np.ndarray, "h w 3"], rules: Rules) -> list[Blob]:
    hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
    hue, vivid = hsv[..., 0], vivid_pixels(hsv, rules)
    found: list[tuple[int, Bool[np.ndarray, "h w"]]] = []
    # Sectors of 60 degrees, every 30: a region of one hue lies whole in at least one.
    for start in range(0, HUES, HUES // 12):
        sector = vivid & ((hue.astype(np.int16) - start) % HUES < HUES // 6)
        if np.count_nonzero(sector) < rules.smallest * vivid.size:
            continue
        count, labels, stats, _ = cv2.connectedComponentsWithStats(sector.astype(np.uint8))
        for label in range(1, count):
            area = int(stats[label, cv2.CC_STAT_AREA])
            if rules.smallest <= area / vivid.size <= rules.largest:
                found.append((area, labels == label))
    blobs = []
    taken = np.zeros_like(vivid)
    for area, region in sorted(found, key=lambda item: -item[0]):
        # The same region, or most of it, seen in a neighbouring sector.
        if np.count_nonzero(region & taken) > 0.5 * area:
            continue
        taken |= region
        rows, columns = np.nonzero(region)
        turns = np.exp(1j * np.deg2rad(2.0 * hue[region]))
        blobs.append(
            Blob(
                (float(columns.mean()), float(rows.mean())),
                area,
                tuple(float(c) for c in frame[region].mean(0)),
                float(np.rad2deg(np.angle(turns.mean())) % 360),
            )
        )
    return blobs


def _hue_change(first: Blob, second: Blob) -> float:
    change = abs(first.hue - second.hue) % 360
    return min(change, 360 - change)


def track(blobs: list[list[Blob]], shape: tuple[int, int], rules: Rules = Rules()) -> list[Track]:
    """Follow blobs from frame to frame, nearest pairs first.

    Args:
      blobs: of each frame, as `find_bodies` gives them.
      shape: height and width of the frames.
      rules: what may belong together.
    """
    jump = rules.jump * min(shape)
    tracks: list[Track] = []
    for frame, here in enumerate(blobs):
        pairs = []
        for i, old in enumerate(tracks):
            away = frame - old.frames[-1]
            if away > rules.gap + 1:
                continue
            for j, blob in enumerate(here):
                distance = float(np.hypot(*np.subtract(blob.centre, old.blobs[-1].centre)))
                change = _hue_change(blob, old.blobs[-1])
                if distance <= jump * away and change <= rules.hue:
                    pairs.append((distance / jump + change / rules.hue, i, j))
        free = set(range(len(here)))
        for i, j in nearest_first(pairs):
            free.remove(j)
            tracks[i].frames.append(frame)
            tracks[i].blobs.append(here[j])
        tracks += [Track([frame], [here[j]]) for j in sorted(free)]
    return tracks


def _steps(
    frames: Float[np.ndarray, "n"], centres: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n-1 2"]:
    """Steps a frame, also over frames in which the body was hidden."""
    return np.diff(centres, axis=0) / np.diff(frames)[:, None]


def travel(
    body: Track, length: int, shape: tuple[int, int], rules: Rules = Rules()
) -> float | None:
    """How far a tracked blob moved, in pixels, when it is a moving body; else None.

    The way is the greatest distance between two of its steady places.
    """
    areas = np.array([blob.area for blob in body.blobs], float)
    colours = np.array([blob.colour for blob in body.blobs])
    steady = np.abs(areas / np.median(areas) - 1) <= rules.area
    steady &= np.linalg.norm(colours - np.median(colours, 0), axis=1) <= rules.colour
    if np.count_nonzero(steady) < max(rules.seen * length, 2):
        return None
    centres = np.array([blob.centre for blob in body.blobs])[steady]
    way = float(np.linalg.norm(centres[:, None] - centres[None], axis=-1).max())
    if way < max(rules.way * min(shape), rules.own_way * np.sqrt(np.median(areas))):
        return None
    steps = _steps(np.array(body.frames, float)[steady], centres)
    if len(steps) > 1:
        bends = np.sort(np.linalg.norm(np.diff(steps, axis=0), axis=1))
        bend = bends[:-1].mean() if len(bends) > 1 else bends[0]
        if bend > rules.bend * np.linalg.norm(steps, axis=1).mean():
            return None
    return way


def moving_bodies(video: UInt8[np.ndarray, "t h w 3"], rules: Rules = Rules()) -> dict[str, float]:
    """Count the moving bodies of a clip; the module's docstring defines them.

    Returns:
      `moving`: how many bodies move; `way`: the longest way of one, in pixels;
      `blobs`: mean number of blobs a frame, moving or not.
    """
    blobs = find_bodies(video, rules)
    shape = video.shape[1:3]
    ways = [travel(body, len(video), shape, rules) for body in track(blobs, shape, rules)]
    ways = [way for way in ways if way is not None]
    return {
        "moving": float(len(ways)),
        "way": max(ways, default=0.0),
        "blobs": float(np.mean([len(here) for here in blobs])),
    }


def share_with_moving_body(
    videos: Iterable[UInt8[np.ndarray, "t h w 3"]], rules: Rules = Rules()
) -> float:
    """The share of clips in which at least one body moves, from 0 to 1.

    Raises:
      ValueError: there are no clips.
    """
    have = [moving_bodies(video, rules)["moving"] > 0 for video in videos]
    if not have:
        raise ValueError("the share of no clips at all is not defined")
    return float(np.mean(have))
