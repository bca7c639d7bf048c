"""The bodies of a clip, followed through its frames by their colour, from pixels alone.

Made for the simulated clips and for what a model trained on them shows: saturated bodies
of the eight named colours before a muted background.

1. A pixel is **vivid** when its HSV saturation is at least 0.45 and its value at least
   0.2, and has the named colour whose hue is nearest. A frame of which more than half is
   vivid has no background and so no bodies.
2. A **piece** is a connected region of one colour that holds a block of 3 x 3 pixels (the
   rims of other bodies do not). Pieces of a colour that fit into one body, judged by the
   largest piece of that colour in the clip, are one: a body half behind another may be
   seen in parts.
3. A **body** is what has one colour through the clip. Where a colour is seen twice in a
   frame, its bodies are told apart by place, nearest first. It is at least 1 % of a frame
   in one of them.
4. A body is **whole** in a frame when it keeps two pixels from other bodies and touches no
   border. Its centre is then the mean of its pixels, weighted by how much of each it
   covers. Elsewhere the centre is where its radial profile, learned from the frames in which
   it is whole, explains best what is seen of it and what is not.
5. A body is **excused** from being seen in a frame when, at the place between its
   neighbours in time, other bodies or the border hide most of it.

The five steps stand in one file: each takes what the one before found, and none is of use alone.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from videojam_jax.data.stage import COLOURS
from videojam_jax.measure.bodies import Rules, nearest_first, vivid_pixels
from videojam_jax.measure.camera import camera_speed

NAMES = tuple(COLOURS)
RULES = Rules()
# Shares of the frame: what a group of pieces must have to be seen at all.
SEEN = 0.004
# A body of which less than this share could be seen is excused from being seen.
HIDDEN = 0.4
QUANTILES = np.array([0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.96])
UNLIKELY = 0.02  # no pixel is impossible


@dataclasses.dataclass(frozen=True)
class Body:
    """One body through the clip; pixels and frames, `(x, y)`, y down.

    Attributes:
      colour: its name.
      seen: in which frames it is.
      whole: in which frames all of it is, apart from others and from the border.
      excused: in which frames it is not seen and need not be.
      centre: where it is not seen, a guess between its neighbours in time.
      share: how much of it is neither hidden by others nor outside of the frame, 0 to 1.
      area: of all of it, judged by what is seen where others do not touch it.
      size: its area when whole; the median.
      aspect: logarithm of length over width, from second moments.
      profile: radii about its centre that hold `QUANTILES` of its area, as shares of the
        radius of a disc of its area.
      region: its pixels.
    """

    colour: str
    seen: Bool[np.ndarray, "t"]
    whole: Bool[np.ndarray, "t"]
    excused: Bool[np.ndarray, "t"]
    centre: Float[np.ndarray, "t 2"]
    share: Float[np.ndarray, "t"]
    area: Float[np.ndarray, "t"]
    size: float
    aspect: Float[np.ndarray, "t"]
    profile: Float[np.ndarray, "t q"]
    region: Bool[np.ndarray, "t h w"]

    @property
    def radius(self) -> float:
        """Of a disc of its size."""
        return float(np.sqrt(self.size / np.pi))

    @property
    def missing(self) -> Bool[np.ndarray, "t"]:
        """In which frames it should be seen and is not."""
        return ~self.seen & ~self.excused


@dataclasses.dataclass(frozen=True)
class Tracked:
    """What is followed in a clip.

    Attributes:
      bodies: largest first.
      frames, height, width: of the clip.
      camera: its velocity in pixels a frame; None where the background does not show it.
    """

    bodies: tuple[Body, ...]
    frames: int
    height: int
    width: int
    camera: Float[np.ndarray, "2"] | None

    @property
    def side(self) -> int:
        return min(self.height, self.width)

    def path(self, body: Body) -> Float[np.ndarray, "t 2"]:
        """The body's way over the background, as far as the camera's motion is known."""
        camera = np.zeros(2) if self.camera is None else self.camera
        return body.centre + np.arange(self.frames)[:, None] * camera


def _hue_table() -> UInt8[np.ndarray, "180"]:
    """The number, from 1, of the named colour nearest to each of OpenCV's hues."""
    colours = np.array([list(COLOURS.values())], np.uint8)
    named = cv2.cvtColor(colours, cv2.COLOR_RGB2HSV)[0, :, 0].astype(int)
    away = np.abs(np.arange(180)[:, None] - named)
    return (np.minimum(away, 180 - away).argmin(1) + 1).astype(np.uint8)


HUE_TABLE = _hue_table()
BLOCK = np.ones((3, 3), np.uint8)


def _colours(
    video: UInt8[np.ndarray, "t h w 3"],
) -> tuple[UInt8[np.ndarray, "t h w"], Float32[np.ndarray, "t h w"]]:
    """The colour of each pixel (0 for none), and the saturation."""
    frames, height, width, _ = video.shape
    hsv = cv2.cvtColor(video.reshape(frames * height, width, 3), cv2.COLOR_RGB2HSV)
    hsv = hsv.reshape(video.shape)
    return HUE_TABLE[hsv[..., 0]] * vivid_pixels(hsv), hsv[..., 1].astype(np.float32) / 255


@dataclasses.dataclass(frozen=True)
class _Group:
    """Pieces of one colour in one frame that are one body."""

    box: tuple[int, int, int, int]  # left, top, right, bottom; the last two not within
    region: Bool[np.ndarray, "h w"]
    area: int

    @property
    def length(self) -> int:
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)

    @property
    def middle(self) -> Float[np.ndarray, "2"]:
        rows, columns = np.nonzero(self.region)
        return np.array([columns.mean(), rows.mean()])

    def joined(self, other: "_Group") -> "_Group":
        low = np.minimum(self.box[:2], other.box[:2])
        high = np.maximum(self.box[2:], other.box[2:])
        return _Group((*low, *high), self.region | other.region, self.area + other.area)


def _pieces(colour: UInt8[np.ndarray, "h w"]) -> list[_Group]:
    """Connected regions of a frame that hold a 3 x 3 block, largest first."""
    solid = cv2.erode(colour, BLOCK)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(colour)
    pieces = []
    for label in range(1, count):
        left, top, width, height, area = (int(v) for v in stats[label])
        box = (slice(top, top + height), slice(left, left + width))
        inside = labels[box] == label
        if solid[box][inside].any():
            region = np.zeros(colour.shape, bool)
            region[box] = inside
            pieces.append(_Group((left, top, left + width, top + height), region, area))
    return sorted(pieces, key=lambda piece: -piece.area)


def _groups(pieces: list[_Group], length: float, smallest: float) -> list[_Group]:
    """Pieces joined as far as they fit into one body of this length."""
    groups: list[_Group] = []
    for piece in pieces:
        for i, group in enumerate(groups):
            both = group.joined(piece)
            if both.length <= length:
                groups[i] = both
                break
        else:
            groups.append(piece)
    return [group for group in groups if group.area >= smallest]


def _follow(groups: list[list[_Group]]) -> list[list[_Group | None]]:
    """The groups of one colour as bodies: one group or none in each frame."""
    bodies: list[list[_Group | None]] = []
    places: list[Float[np.ndarray, "2"]] = []
    for frame, here in enumerate(groups):
        middles = [group.middle for group in here]
        pairs = [
            (float(np.hypot(*(middle - place))), i, j)
            for i, place in enumerate(places)
            for j, middle in enumerate(middles)
        ]
        free = set(range(len(here)))
        for body in bodies:
            body.append(None)
        for i, j in nearest_first(pairs):
            free.remove(j)
            bodies[i][frame], places[i] = here[j], middles[j]
        for j in sorted(free):
            bodies.append([None] * frame + [here[j]])
            places.append(middles[j])
    return bodies


def track_bodies(video: UInt8[np.ndarray, "t h w 3"]) -> Tracked:
    """Follow the bodies of a clip; the module's docstring says how."""
    frames, height, width, _ = video.shape
    colours, saturation = _colours(video)
    pixels = height * width
    followed: list[tuple[str, list[_Group | None]]] = []
    for number, name in enumerate(NAMES, 1):
        masks = (colours == number).astype(np.uint8)
        if masks.sum((1, 2)).max(initial=0) < RULES.smallest * pixels:
            continue
        pieces = [_pieces(mask) for mask in masks]
        longest = max((piece.length for here in pieces for piece in here), default=0)
        groups = [_groups(here, 1.2 * longest + 1, SEEN * pixels) for here in pieces]
        for body in _follow(groups):
            if max((group.area for group in body if group), default=0) >= RULES.smallest * pixels:
                followed.append((name, body))
    regions = np.zeros((len(followed), frames, height, width), bool)
    for i, (_, body) in enumerate(followed):
        for frame, group in enumerate(body):
            if group:
                regions[i, frame] = group.region
    bodies = [
        _measure(name, i, regions, saturation) for i, (name, _) in enumerate(followed)
    ]  # fmt: skip
    background = colours == 0
    for i in range(frames):
        background[i] = cv2.erode(background[i].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return Tracked(
        tuple(sorted(bodies, key=lambda body: -body.size)),
        frames,
        height,
        width,
        camera_speed(video, background),
    )


def _measure(
    name: str,
    number: int,
    regions: Bool[np.ndarray, "k t h w"],
    saturation: Float32[np.ndarray, "t h w"],
) -> Body:
    """Body `number` of the regions of all."""
    own = regions[number]
    frames, height, width = own.shape
    others = np.delete(regions, number, 0).any(0)
    seen = own.any((1, 2))
    cover = _cover(own, others, saturation)
    near = np.stack([cv2.dilate(o.astype(np.uint8), np.ones((5, 5), np.uint8)) for o in own]) > 0
    whole = seen & ~(near & others).any((1, 2))
    whole &= ~(own[:, [0, -1]].any((1, 2)) | own[:, :, [0, -1]].any((1, 2)))
    shown = cover.sum((1, 2), dtype=np.float64)
    area = shown.copy()
    y, x = np.mgrid[:height, :width].astype(np.float32)
    weight = np.maximum(shown, 1e-9)
    centre = np.stack([(cover * axis).sum((1, 2)) / weight for axis in (x, y)], -1)

    model = np.flatnonzero(whole)
    if not len(model):
        model = np.flatnonzero(shown >= np.quantile(shown[seen], 0.75))
    profile = _radial_profile(cover[model], others[model], centre[model])
    # What can be seen: inside the frame, and not behind another body or its edge.
    other_rims = np.stack([cv2.dilate(o.astype(np.uint8), BLOCK) for o in others]) > 0
    share = np.ones(frames)
    for i in np.flatnonzero(seen & ~whole):
        centre[i] = _fit_centre(cover[i], own[i], other_rims[i], profile, centre[i])
        share[i] = _visible_share(profile, centre[i], ~other_rims[i])
        area[i] = cover[i][~other_rims[i]].sum() / max(share[i], UNLIKELY)
    centre = _between(centre, seen)
    for i in np.flatnonzero(~seen):
        share[i] = _visible_share(profile, centre[i], ~other_rims[i])
    excused = ~seen & (share < HIDDEN)

    aspect = np.zeros(frames)
    quantiles = np.zeros((frames, len(QUANTILES)))
    for i in np.flatnonzero(seen):
        dx, dy = x - centre[i, 0], y - centre[i, 1]
        aspect[i], quantiles[i] = _form(cover[i], dx, dy, shown[i])
    return Body(
        name, seen, whole, excused, centre, share, area, float(np.median(area[model])),
        aspect, quantiles, own,
    )  # fmt: skip


def _cover(
    own: Bool[np.ndarray, "t h w"],
    others: Bool[np.ndarray, "t h w"],
    saturation: Float32[np.ndarray, "t h w"],
) -> Float32[np.ndarray, "t h w"]:
    """How much of each pixel the body covers: its saturation, of the body's own.

    At an edge a pixel mixes the body with the grey behind it, so that its saturation falls.
    """
    cover = np.zeros(own.shape, np.float32)
    for i in np.flatnonzero(own.any((1, 2))):
        # A thin rod before a body leaves a line, which is closed.
        region = cv2.morphologyEx(own[i].astype(np.uint8), cv2.MORPH_CLOSE, BLOCK)
        rim = (cv2.dilate(region, BLOCK) > 0) & ~others[i]
        full = np.quantile(saturation[i][own[i]], 0.6)
        part = np.clip((saturation[i] / full - 0.1) / 0.9, 0, 1)
        filled = (region > 0) & ~own[i] & ~others[i]
        cover[i] = np.where(rim, part, 0)
        cover[i][filled] = np.maximum(cover[i][filled], 0.5)
    return cover


def _radial_profile(
    cover: Float32[np.ndarray, "n h w"],
    others: Bool[np.ndarray, "n h w"],
    centre: Float[np.ndarray, "n 2"],
) -> Float[np.ndarray, "r"]:
    """Mean cover at each whole radius, of what other bodies leave to be seen."""
    _, height, width = cover.shape
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(x - centre[:, 0, None, None], y - centre[:, 1, None, None])
    ring = np.rint(radius).astype(int)
    free = ~others
    longest = int(ring.max()) + 1
    total = np.bincount(ring[free], cover[free], longest)
    count = np.bincount(ring[free], minlength=longest)
    profile = total / np.maximum(count, 1)
    last = np.flatnonzero(profile > 2 * UNLIKELY)
    return profile[: (last[-1] if len(last) else 0) + 1]


def _kernel(profile: Float[np.ndarray, "r"]) -> Float32[np.ndarray, "n n"]:
    """The profile as a square around its centre."""
    reach = len(profile)
    axis = np.arange(-reach, reach + 1)
    radius = np.hypot(axis, axis[:, None])
    return np.interp(radius, np.arange(reach + 1), np.append(profile, 0.0)).astype(np.float32)


def _fit_centre(
    cover: Float32[np.ndarray, "h w"],
    own: Bool[np.ndarray, "h w"],
    others: Bool[np.ndarray, "h w"],
    profile: Float[np.ndarray, "r"],
    guess: Float[np.ndarray, "2"],
) -> Float[np.ndarray, "2"]:
    """Where the profile explains best what is seen of the body, and what is not.

    The greatest likelihood over whole pixels around `guess`, when each pixel that can be
    seen shows the body with the profile's chance; refined by a parabola.
    """
    kernel = np.clip(_kernel(profile), UNLIKELY, 1 - UNLIKELY)
    reach = len(kernel) // 2
    column, row = np.rint(guess).astype(int)
    far = 2 * reach + 1
    pad = [(far, far), (far, far)]
    here = (slice(row, row + 2 * far + 1), slice(column, column + 2 * far + 1))
    shown = np.pad(cover, pad)[here].astype(np.float32)
    empty = np.pad(((1 - cover) * ~others).astype(np.float32), pad)[here]
    shown = shown * np.pad(~others | own, pad)[here]
    gain = np.log(kernel / UNLIKELY)
    loss = np.log((1 - kernel) / (1 - UNLIKELY))
    score = cv2.filter2D(shown, -1, gain, borderType=cv2.BORDER_CONSTANT)
    score += cv2.filter2D(empty, -1, loss, borderType=cv2.BORDER_CONSTANT)
    inner = score[far - reach : far + reach + 1, far - reach : far + reach + 1]
    row_at, column_at = np.unravel_index(np.argmax(inner), inner.shape)
    place = np.array([column_at, row_at], float) - reach
    for axis, line, at in ((0, inner[row_at], column_at), (1, inner[:, column_at], row_at)):
        if 0 < at < 2 * reach:
            left, middle, right = line[at - 1 : at + 2]
            bend = left - 2 * middle + right
            place[axis] += 0.5 * (left - right) / bend if bend < 0 else 0.0
    return np.array([column, row]) + place


def _visible_share(
    profile: Float[np.ndarray, "r"],
    centre: Float[np.ndarray, "2"],
    free: Bool[np.ndarray, "h w"],
) -> float:
    """Of a body with this profile at this place, the share on `free` pixels of the frame."""
    kernel = _kernel(profile)
    reach = len(kernel) // 2
    height, width = free.shape
    column, row = (int(v) for v in np.clip(np.rint(centre), -4 * reach, 4 * reach + height + width))
    left, top = max(column - reach, 0), max(row - reach, 0)
    right, bottom = min(column + reach + 1, width), min(row + reach + 1, height)
    if left >= right or top >= bottom:
        return 0.0
    part = kernel[
        top - row + reach : bottom - row + reach, left - column + reach : right - column + reach
    ]
    return float((part * free[top:bottom, left:right]).sum() / max(kernel.sum(), 1e-9))


def _between(
    centre: Float[np.ndarray, "t 2"], seen: Bool[np.ndarray, "t"]
) -> Float[np.ndarray, "t 2"]:
    """Places of unseen frames: on the line between the seen ones, or straight on past them."""
    at = np.flatnonzero(seen)
    time = np.arange(len(seen))
    filled = np.stack([np.interp(time, at, centre[at, axis]) for axis in range(2)], -1)
    if len(at) > 1:
        for ends, outer in ((at[:3], time < at[0]), (at[-3:], time > at[-1])):
            first, last = ends[0], ends[-1]
            speed = (centre[last] - centre[first]) / (last - first)
            edge = at[0] if outer[0] else at[-1]
            filled[outer] = centre[edge] + (time[outer] - edge)[:, None] * speed
    return filled


def _form(
    cover: Float32[np.ndarray, "h w"],
    dx: Float[np.ndarray, "h w"],
    dy: Float[np.ndarray, "h w"],
    area: float,
) -> tuple[float, Float[np.ndarray, "q"]]:
    """`aspect` and `profile` of `Body` in one frame."""
    some = cover > 0
    part, x, y = cover[some].astype(np.float64), dx[some], dy[some]
    xx, yy, xy = ((part * product).sum() / area for product in (x * x, y * y, x * y))
    half = np.hypot((xx - yy) / 2, xy)
    mean = (xx + yy) / 2 + 1 / 12  # a pixel has a width itself
    aspect = 0.5 * np.log((mean + half) / max(mean - half, 1e-6))
    radius = np.hypot(x, y)
    order = np.argsort(radius)
    within = (np.cumsum(part[order]) - 0.5 * part[order]) / area
    quantiles = np.interp(QUANTILES, within, radius[order]) / np.sqrt(area / np.pi)
    return float(aspect), quantiles
