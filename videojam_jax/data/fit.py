"""Bring one frame to the wanted size: cover it, then crop."""

import hashlib

import cv2
import numpy as np
from jaxtyping import UInt8

from videojam_jax.data.clip import ClipSpec
from videojam_jax.errors import UserError

CENTRE = (0.5, 0.5)


def crop_position(spec: ClipSpec, source_id: str) -> tuple[float, float]:
    """Where in a clip's spare room the crop lies, as fractions (down, right) in [0, 1).

    "centre" is (0.5, 0.5). "random" is a pure function of (`spec.seed`,
    `source_id`), so a clip keeps its crop whoever reads it and in whatever order,
    and two clips of one file have different crops.

    Raises:
      UserError: `spec.crop` is neither "centre" nor "random".
    """
    if spec.crop == "centre":
        return CENTRE
    if spec.crop != "random":
        raise UserError(f'crop is "{spec.crop}"; it must be "centre" or "random"')
    digest = hashlib.blake2b(f"{spec.seed}:{source_id}".encode(), digest_size=8).digest()
    down, right = np.frombuffer(digest, "<u4") / 2.0**32
    return float(down), float(right)


def cover(
    frame: UInt8[np.ndarray, "h0 w0 3"],
    height: int,
    width: int,
    position: tuple[float, float] = CENTRE,
) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """Resize a frame until it just covers `height` x `width`, then crop the rest away.

    The shape of things is kept (one factor for both axes). Shrinking averages areas
    (no aliasing), enlarging is cubic.

    Args:
      frame: any size, square pixels.
      position: fractions in [0, 1) as `crop_position` gives them: 0 keeps the top
        or left end, values near 1 the bottom or right end.
    """
    rows, columns = frame.shape[:2]
    factor = max(height / rows, width / columns)
    rows, columns = max(height, round(rows * factor)), max(width, round(columns * factor))
    if (rows, columns) != frame.shape[:2]:
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        frame = cv2.resize(frame, (columns, rows), interpolation=method)
    top = int(position[0] * (rows - height + 1))
    left = int(position[1] * (columns - width + 1))
    return np.ascontiguousarray(frame[top : top + height, left : left + width])
