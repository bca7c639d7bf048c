"""Test videos of which every frame shows its own number, in any container."""

from fractions import Fraction

import av
import numpy as np

HEIGHT, WIDTH = 48, 64


def numbered(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A frame of eight grey columns: the bits of `number`, the lowest on the left."""
    bits = [16 + 220 * (number >> bit & 1) for bit in range(8)]
    row = np.repeat(np.array(bits, np.uint8), width // 8)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def numbers(video: np.ndarray) -> list[int]:
    columns = video.reshape(*video.shape[:2], 8, -1, 3).mean((1, 3, 4)) > 128
    return (columns * 2 ** np.arange(8)).sum(1).tolist()


def make_video(
    path,
    codec="libx264",
    pix_fmt="yuv420p",
    count=60,
    rate=24,
    options=None,
    stamps=None,
    rotation=0,
    aspect=None,
    container_options=None,
    frames=None,
):
    """Write numbered frames; `stamps` are times in milliseconds of a variable rate."""
    frames = [numbered(i) for i in range(count)] if frames is None else frames
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if rotation:
            stream.set_display_rotation(rotation)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(frames):
            kind = "rgba" if image.shape[2] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(image, format=kind)
            if stamps is not None:
                frame.pts, frame.time_base = stamps[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def packet_places(path):
    """First byte and size of each frame in a file, as numbers.

    The container's own entries are views of what is freed when it is closed.
    """
    with av.open(str(path)) as container:
        return [(entry.pos, entry.size) for entry in container.streams.video[0].index_entries]
