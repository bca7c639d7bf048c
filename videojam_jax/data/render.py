"""A scene as frames, with the exact flow of every pixel.

Pixel centres are at whole numbers: pixel `[row, column]` shows the point
`(x, y) = (column, row)`. Edges are antialiased by the signed distance of the
pixel's centre; a pixel belongs to the topmost surface that covers its centre.
Only additions, products and square roots are done per pixel, so that frames
come out alike on different machines.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Complex64, Float, Float32, UInt8

from videojam_jax.data.figures import Limb
from videojam_jax.data.stage import COLOURS, Body, Scene, Solid

ROD_LEVEL = 60  # grey level of a pendulum's rod
TABLE_SCALE = 2  # samples a pixel in a body's texture


@dataclasses.dataclass(frozen=True)
class Rendered:
    """Frames and what is true of their pixels.

    Attributes:
      video: RGB.
      flow: `(u, v)` in pixels from frame i to i + 1 of the surface point that
        frame i shows; where it will be hidden or out of the frame, where it would be.
      identity: 0 where the background (or a rod) shows, i + 1 where body i does.
    """

    video: UInt8[np.ndarray, "t h w 3"]
    flow: Float32[np.ndarray, "t-1 h w 2"]
    identity: UInt8[np.ndarray, "t h w"]


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, cell: float
) -> Float[np.ndarray, "h w"]:
    """Noise with features of about `cell` pixels, from exactly -1 to 1.

    A random lattice, read through cubic B-splines: twice differentiable.
    """
    rows, columns = math.ceil(height / cell) + 4, math.ceil(width / cell) + 4
    lattice = rng.random((rows, columns))
    for size in (height, width):
        place = np.arange(size) / cell
        base = place.astype(np.int64)
        f = (place - base)[:, None]
        weights = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
        lattice = sum(w * lattice[base + i] for i, w in enumerate(weights)).T
    low, high = lattice.min(), lattice.max()
    return (lattice - low) * (2 / (high - low)) - 1


def _texture(
    rng: np.random.Generator, body: Body, contrast: float
) -> Float32[np.ndarray, "n n"]:
    """Brightness over the body's own square, from 0.55 to 1 at full contrast.

    It has `TABLE_SCALE` samples a pixel.
    """
    count = 2 * (math.ceil(body.radius) + 2) * TABLE_SCALE
    if body.texture == "quarters":  # whose turn is what a clip shows: at any contrast
        x = np.arange(count) - (count - 1) / 2
        pattern = np.clip(np.sign(x) * np.sqrt(np.abs(x)), -1, 1)
        return (0.72 + 0.28 * pattern * pattern[:, None]).astype(np.float32)
    wave = max(0.75 * body.radius, 5.0) * TABLE_SCALE
    if body.texture == "noise":
        pattern = smooth_noise(rng, count, count, wave / 2)
    else:
        phase = rng.random(2)
        x, y = np.meshgrid(*((np.arange(count) / wave + p) * 2 * math.pi for p in phase))
        pattern = np.sin(x) if body.texture == "stripes" else np.sin(x) * np.sin(y)
        # Flatter tops and steeper flanks than a sine: stripes and dots, still smooth.
        pattern = pattern * (1.5 - 0.5 * pattern**2)
    return (0.775 + contrast * 0.225 * pattern).astype(np.float32)


def _canvas(
    rng: np.random.Generator,
    height: int,
    width: int,
    origin: tuple[float, float],
    solids: tuple[Solid, ...],
    contrast: float,
) -> Float32[np.ndarray, "h w"]:
    """Grey levels of the world behind the bodies; its pixel [0, 0] shows `origin`."""
    coarse = max(min(height, width) / 6, 3.0)
    rough = 0.6 * smooth_noise(rng, height, width, coarse)
    rough += 0.4 * smooth_noise(rng, height, width, 2.5)
    level = rng.uniform(85, 150)
    grey = level + contrast * 38 * rough
    if solids:
        darker = level - 55 if level > 115 else level + 65
        surface = darker + contrast * 30 * smooth_noise(rng, height, width, 3.5)
        x = np.arange(width) + origin[0]
        y = (np.arange(height) + origin[1])[:, None]
        for solid in solids:
            out = (x - solid.point[0]) * solid.outward[0] + (y - solid.point[1]) * solid.outward[1]
            cover = np.clip(0.5 - out, 0, 1)
            grey = grey + cover * (surface - grey)
    return grey.astype(np.float32)


def _background(
    rng: np.random.Generator, scene: Scene, frames: int, height: int, width: int, contrast: float
) -> UInt8[np.ndarray, "t h w 3"]:
    """The world as the camera sees it: muted, of one faint tint."""
    tint = rng.uniform(0.93, 1.0, 3).astype(np.float32)
    low = np.floor(scene.camera.min(0)).astype(int)
    high = np.ceil(scene.camera.max(0)).astype(int) + 1
    size = height + high[1] - low[1], width + high[0] - low[0]
    grey = _canvas(rng, *size, tuple(low), scene.solids, contrast)
    moving = bool(np.any(scene.camera != scene.camera[0]))
    video = np.empty((frames, height, width, 3), np.uint8)
    for i in range(frames if moving else 1):
        x, y = scene.camera[i] - low
        column, row = int(x), int(y)
        fx, fy = np.float32(x - column), np.float32(y - row)
        part = grey[row : row + height + 1, column : column + width + 1]
        part = part[:, :-1] + fx * (part[:, 1:] - part[:, :-1])
        part = part[:-1] + fy * (part[1:] - part[:-1])
        for channel in range(3):
            video[i, ..., channel] = part * tint[channel] + np.float32(0.5)
    if not moving:
        video[1:] = video[0]
    return video


@dataclasses.dataclass(frozen=True)
class _Layer:
    """A rigid surface: moves as its body does, but is drawn with its own outline."""

    distance: Callable[[np.ndarray, np.ndarray], np.ndarray]  # pixels in the body's own axes
    brightness: Callable[[np.ndarray, np.ndarray], np.ndarray]  # [n], [n] -> [n], 0 to 1
    colour: tuple[int, int, int]  # at brightness 1
    middle: tuple[float, float]  # centre of its box, in the body's own axes
    reach: float  # half its box
    label: int


def _limb(body: Body, limb: Limb, label: int) -> _Layer:
    """A capsule from its joint downwards, in one shade."""
    scale = 2 * body.radius  # limbs are given as shares of the height
    length, thick = np.float32(limb.length * scale), np.float32(limb.thickness * scale)

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        beyond = y - np.clip(y, np.float32(0), length)
        return np.sqrt(x * x + beyond * beyond) - thick

    return _Layer(
        distance,
        lambda x, y: np.full_like(x, limb.shade),
        COLOURS[body.colour],
        (0.0, float(length) / 2),
        float(length / 2 + thick) + 1,
        label,
    )


def _layers(
    rng: np.random.Generator, body: Body, label: int, contrast: float
) -> list[_Layer]:
    if body.limbs:
        return [_limb(body, limb, label) for limb in body.limbs]
    radius = np.float32(body.radius)
    table = _texture(rng, body, contrast)
    count = len(table)
    flat = table.ravel()

    def brightness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        column, row = (v * np.float32(TABLE_SCALE) + np.float32(count / 2) for v in (x, y))
        c, r = column.astype(np.int32), row.astype(np.int32)
        column -= c
        row -= r
        at = r * count + c
        upper = flat[at] * (1 - column) + flat[at + 1] * column
        lower = flat[at + count] * (1 - column) + flat[at + count + 1] * column
        return upper + row * (lower - upper)

    shape = _Layer(
        lambda x, y: radius * body.shape.distance(x / radius, y / radius),
        brightness,
        COLOURS[body.colour],
        (0.0, 0.0),
        body.radius + 1,
        label,
    )
    if not body.rod:
        return [shape]
    length = np.float32(body.rod)
    thick = np.float32(max(0.6, body.radius / 12))
    rod = _Layer(
        lambda x, y: np.maximum(np.abs(x) - thick, np.maximum(y, -length - y)),
        lambda x, y: np.ones_like(x),
        (ROD_LEVEL,) * 3,
        (0.0, -body.rod / 2),
        body.rod / 2 + 1,
        0,
    )
    return [rod, shape]


def _as_complex(pairs: Float32[np.ndarray, "... 2"]) -> Complex64[np.ndarray, "..."]:
    """The same memory as `u + 1j v`: a turn is a product, a pair is written in one go."""
    return pairs.view(np.complex64)[..., 0]


def _draw(
    layer: _Layer,
    position: Float[np.ndarray, "t 2"],
    angle: Float[np.ndarray, "t"],
    stretch: Float[np.ndarray, "t 2"] | None,
    out: Rendered,
) -> None:
    """Draw one layer over all frames at once, in boxes around it."""
    frames, height, width = out.identity.shape
    reach = math.ceil(layer.reach if stretch is None else layer.reach * stretch.max())
    cosine, sine = np.cos(angle), np.sin(angle)
    middle_x = position[:, 0] + cosine * layer.middle[0] - sine * layer.middle[1]
    middle_y = position[:, 1] + sine * layer.middle[0] + cosine * layer.middle[1]
    size = np.arange(2 * reach + 2) - reach
    columns = np.floor(middle_x).astype(np.int32)[:, None] + size.astype(np.int32)
    rows = np.floor(middle_y).astype(np.int32)[:, None] + size.astype(np.int32)
    dx = (columns - position[:, :1]).astype(np.float32)[:, None, :]
    dy = (rows - position[:, 1:]).astype(np.float32)[:, :, None]
    c, s = (v.astype(np.float32)[:, None, None] for v in (cosine, sine))
    x, y = c * dx + s * dy, c * dy - s * dx
    if stretch is None:
        away = layer.distance(x, y)
    else:
        wider, higher = stretch.astype(np.float32).T[:, :, None, None]
        x, y = x / wider, y / higher
        away = layer.distance(x, y) * np.minimum(wider, higher)
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[
        :, None, :
    ]
    chosen = np.flatnonzero((away < 0.5) & inside)
    if not len(chosen):
        return
    frame, place = np.divmod(chosen, len(size) ** 2)
    corner = (np.arange(frames) * height + rows[:, 0]) * width + columns[:, 0]
    local = (np.arange(len(size)) * width)[:, None] + np.arange(len(size))
    pixel = corner[frame] + local.ravel()[place]
    away = away.ravel()[chosen]
    cover = np.minimum(np.float32(0.5) - away, np.float32(1))
    bright = layer.brightness(x.ravel()[chosen], y.ravel()[chosen])
    video = out.video.reshape(-1)
    for channel, full in enumerate(layer.colour):
        at = 3 * pixel + channel
        under = video[at].astype(np.float32)
        mixed = under + cover * (np.float32(full) * bright - under)
        video[at] = (mixed + np.float32(0.5)).astype(np.uint8)

    own = away < 0
    pixel, frame = pixel[own], frame[own]
    out.identity.reshape(-1)[pixel] = layer.label
    # Pixels are in the order of their frames; the last frame has no flow.
    here = slice(np.searchsorted(frame, frames - 1))
    pixel, frame = pixel[here], frame[here]
    arm = (dx + 1j * dy).ravel()[chosen[own][here]]
    turn = np.expm1(1j * np.diff(angle)).astype(np.complex64)
    step = _as_complex(np.diff(position, axis=0).astype(np.float32))
    _as_complex(out.flow).reshape(-1)[pixel] = step[frame] + turn[frame] * arm


def render(
    rng: np.random.Generator, scene: Scene, height: int, width: int, contrast: float = 1.0
) -> Rendered:
    """Draw a scene, later bodies over earlier ones.

    Args:
      rng: chance for the textures.
      scene: see `scenes.Scene`; at most 255 bodies.
      height, width: in pixels.
      contrast: of the textures; at 0 every surface is of one colour.
    """
    frames = len(scene.camera)
    out = Rendered(
        _background(rng, scene, frames, height, width, contrast),
        np.empty((frames - 1, height, width, 2), np.float32),
        np.zeros((frames, height, width), np.uint8),
    )
    glide = _as_complex(-np.diff(scene.camera, axis=0).astype(np.float32))
    _as_complex(out.flow)[:] = glide[:, None, None]
    for label, (body, track) in enumerate(zip(scene.bodies, scene.tracks, strict=True), 1):
        layers = _layers(rng, body, label, contrast)
        for layer, way in zip(layers, track.limbs or [track] * len(layers), strict=True):
            stretch = way.stretch if layer.label else None  # a rod keeps its length
            _draw(layer, way.position - scene.camera, way.angle, stretch, out)
    return out
