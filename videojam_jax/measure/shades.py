"""Which parts of a body are bright and which are dark: its shades, from pixels.

A pixel mixes the body with what is behind it, `pixel = cover * shade * colour + (1 - cover) *
background`. Colour and background are known, so that both unknowns follow by least squares, and
are as right in a blurred frame as in a sharp one: blur mixes pixels the same way.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from videojam_jax.data.stage import COLOURS
from videojam_jax.measure.tracked import Body

AROUND = 7  # rows and columns about a body in which its background is looked for


@dataclasses.dataclass(frozen=True)
class Shades:
    """Of one body: how much of each pixel it covers, and that times its brightness.

    Both from 0 to 1; `bright` is `cover` where the body has its full colour.
    """

    cover: Float32[np.ndarray, "t h w"]
    bright: Float32[np.ndarray, "t h w"]

    def parts(
        self, dark: float, light: float
    ) -> tuple[Float32[np.ndarray, "t h w"], Float32[np.ndarray, "t h w"]]:
        """How much of each pixel is of the first of two brightnesses, and of the second."""
        second = np.clip((self.bright - dark * self.cover) / (light - dark), 0, self.cover)
        return self.cover - second, second


def shades(video: UInt8[np.ndarray, "t h w 3"], body: Body) -> Shades:
    """The shades of a tracked body; 0 beyond the pixels next to its own."""
    colour = np.array(COLOURS[body.colour], np.float32)
    cover, bright = np.zeros((2, *body.region.shape), np.float32)
    for i in np.flatnonzero(body.seen):
        region = body.region[i].astype(np.uint8)
        rim, edge, around = (cv2.dilate(region, np.ones((n, n))) > 0 for n in (3, 5, AROUND))
        behind = around & ~edge
        if not behind.any():
            behind = region == 0  # no more than half of a frame is bodies
        pixels = video[i][rim].astype(np.float32)
        grey = np.median(video[i][behind].astype(np.float32), 0)
        found = pixels @ np.linalg.pinv(np.stack([colour, grey]))
        bright[i][rim] = np.clip(found[:, 0], 0, 1)
        cover[i][rim] = np.clip(1 - found[:, 1], bright[i][rim], 1)
    return Shades(cover, bright)
