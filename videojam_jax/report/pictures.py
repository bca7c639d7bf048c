"""Pictures of clips, and images as the bytes of PNG files, in memory."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

# Readable on a white page as on a black one.
LABEL_COLOUR = (125, 131, 140, 255)


def png_bytes(image: UInt8[np.ndarray, "h w c"]) -> bytes:
    """A PNG; `c` is 3 (RGB) or 4 (RGB and opacity)."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, format="PNG", optimize=True)
    return out.getvalue()


def film_strips(
    strips: Sequence[tuple[str, UInt8[np.ndarray, "_t _h _w 3"]]], *, width: int = 1152
) -> UInt8[np.ndarray, "height width 4"]:
    """Clips one below the other, each a labelled row of frames spread over its length.

    Frames are enlarged by a whole number, so that their pixels stay sharp; how many
    are shown, 6 to 10 where they fit, is chosen to use the width.

    Args:
      strips: `(label, video)` from top to bottom, all of one width.
      width: of the picture at most, pixels; more only if a single frame is wider.

    Returns:
      A picture with transparent ground, for light and dark pages alike.
    """
    gap, font = 4, ImageFont.load_default(size=17)
    left = max(int(font.getlength(label)) for label, _ in strips) + 20
    frame_width = strips[0][1].shape[2]
    length = min(len(video) for _, video in strips)
    room = width - left + gap

    def scale(count: int) -> int:
        return max(1, (room // count - gap) // frame_width)

    fitting = max(1, min(room // (frame_width + gap), length, 10))
    count = max(
        range(min(6, fitting), fitting + 1), key=lambda n: n * (scale(n) * frame_width + gap)
    )
    size = scale(count)
    step = size * frame_width + gap
    heights = [size * video.shape[1] + gap for _, video in strips]
    picture = Image.new("RGBA", (left + count * step - gap, sum(heights) - gap), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    top = 0
    for (label, video), height in zip(strips, heights, strict=True):
        draw.text((left - 14, top + (height - gap) // 2), label, LABEL_COLOUR, font, anchor="rm")
        for i, at in enumerate(np.linspace(0, len(video) - 1, count).round().astype(int)):
            frame = video[at].repeat(size, axis=0).repeat(size, axis=1)
            picture.paste(Image.fromarray(frame), (left + i * step, top))
        top += height
    return np.asarray(picture)
