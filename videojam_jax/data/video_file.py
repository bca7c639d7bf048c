"""Reading the frames of a video file, and writing mp4 and gif files whole or not at all."""

import contextlib
import dataclasses
import functools
import io
import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from PIL import Image

from videojam_jax.data import colours
from videojam_jax.data.video_timing import VideoError, VideoInfo, open_video, probe, stamp
from videojam_jax.files import write_whole

# Seconds before the wanted time at which to look for a keyframe, in this order, then
# from the start. mp4 looks keyframes up by decoding time, which with B-frames is before
# the time a frame is shown, so the first one found may be a little too late.
_SEEK_BACK = (0.0, 1.0, 5.0, 30.0)


@dataclasses.dataclass(frozen=True)
class Shown:
    """A decoded frame.

    Attributes:
      start: when it is shown, in the container's seconds.
      duration: for how long; 0 where it is not told.
      is_corrupt: whether it was decoded from damaged data.
      picture: gives what is meant to be seen, uint8 `[h, w, 3]`; made once.
    """

    start: float
    duration: float
    is_corrupt: bool
    picture: Callable[[], np.ndarray]


@contextlib.contextmanager
def opened_at(
    path: str | os.PathLike,
    info: VideoInfo,
    at_least: tuple[int, int] | None,
    first: float,
    seek: float | None,
) -> Iterator[Iterator[Shown]]:
    """Give the frames of a file in the order shown.

    Args:
      first: container seconds of what is wanted first, for those who take this one's place.
      seek: begin at the keyframe before this time, where the file allows; None: at the start.
    """
    with open_video(path, info.stream) as (container, stream):
        if seek is not None and not is_sequential(container, stream):
            container.seek(int(seek / info.tick), stream=stream)
        yield all_shown(container, stream, at_least)


def read_video(
    path: str | os.PathLike,
    times: Sequence[float] | Float[np.ndarray, "t"] | None = None,
    *,
    info: VideoInfo | None = None,
    fit: Callable[[np.ndarray], np.ndarray] = lambda frame: frame,
    at_least: tuple[int, int] | None = None,
    opened: Callable[..., contextlib.AbstractContextManager[Iterator[Shown]]] = opened_at,
) -> UInt8[np.ndarray, "t h w 3"]:
    """The frames shown at the wanted times, as RGB, upright and with square pixels.

    For each time the frame on screen then is taken: the last one whose own time has
    come. So a variable frame rate is honoured, and a frame may be taken several times
    or not at all. Reading starts at the keyframe before the first time, not at the
    start of the file, but for files that `is_sequential` tells. Transparency is laid
    over black.

    Args:
      times: seconds after the first frame, increasing; None for every frame once.
      info: what `probe(path)` gave, when it is known already.
      fit: applied to each frame that is taken, as soon as it is decoded (so a large
        frame need not stay in memory); must give frames of one size.
      at_least: rows and columns that `fit` makes use of: frames of two, four or eight
        times as many and more come to it shrunk by that factor, which saves time.
      opened: where frames at `times` come from; `Onward.opened_at` reads clip after clip of a
        file without beginning anew.

    Raises:
      VideoError: the file cannot be decoded, or ends before the last of `times`.
    """
    info = info or probe(path)
    if times is None:
        with open_video(path, info.stream) as (container, stream):
            return _stacked([fit(x.picture()) for x in all_shown(container, stream, at_least)])
    wanted = info.start + np.asarray(times, np.float64)
    start = functools.partial(opened, path, info, at_least, wanted[0])
    for back in _SEEK_BACK:
        if wanted[0] - back <= info.start:
            break
        # Some streams cannot be decoded from the middle: then the way from the start decides.
        with contextlib.suppress(VideoError):
            frames = _frames_at(start, wanted, info, fit, seek=wanted[0] - back)
            if frames is not None:
                return frames
    frames = _frames_at(start, wanted, info, fit, seek=None)
    if frames is None:
        raise VideoError(f"its first frames are missing: nothing is shown at {times[0]:.3f} s")
    return frames


def _frames_at(start, wanted, info, fit, seek: float | None):
    """The frames shown at `wanted` (container seconds); None where decoding began too late.

    Raises:
      VideoError: a frame is damaged, or the video ends before the last of `wanted`.
    """
    interval = info.duration / info.frames
    taken = []
    previous, image, end = None, None, 0.0

    def take(shown: Shown):
        nonlocal image  # of `previous`, made when it is first wanted
        if image is None:
            if shown.is_corrupt:
                at = wanted[len(taken)] - info.start
                raise VideoError(f"the frame shown at {at:.3f} s is damaged")
            image = fit(shown.picture())
        taken.append(image)

    with start(seek) as frames:
        late = interval if seek is None else info.rounding
        for shown in frames:
            if previous is None and shown.start > wanted[0] + late:
                return None
            while previous is not None and wanted[len(taken)] < shown.start - info.rounding:
                take(previous)
                if len(taken) == len(wanted):
                    return _stacked(taken)
            previous, image, end = shown, None, shown.start + (shown.duration or interval)
        # The last frame is shown until its end, which some containers leave vague.
        end += interval / 2
        while previous is not None and len(taken) < len(wanted) and wanted[len(taken)] < end:
            take(previous)
    if len(taken) < len(wanted):
        lost = wanted[len(taken)] - info.start
        raise VideoError(f"frames are missing: nothing can be decoded at {lost:.3f} s")
    return _stacked(taken)


def _stacked(frames: list[np.ndarray]) -> UInt8[np.ndarray, "t h w 3"]:
    if not frames:
        raise VideoError("none of its frames can be decoded")
    if len({frame.shape for frame in frames}) > 1:
        raise VideoError("its frames change size")
    return np.stack(frames)


def is_sequential(container, stream) -> bool:
    """Whether frames can be placed only by decoding the file from its start.

    A gif keeps of a frame what changed. avi stores when packets are decoded and not when their
    frames are shown, which is the same only for codecs that do not reorder them.
    """
    if container.format.name == "avi":
        return stream.codec_context.codec.reorder
    return container.format.name == "gif"


def all_shown(container, stream, at_least: tuple[int, int] | None) -> Iterator[Shown]:
    """Every frame from here on, in the order shown.

    Args:
      at_least: as `read_video` has it.
    """
    pixels = _pixels_of(stream, at_least)
    for start, duration, frame in _decode(container, stream):
        picture = functools.cache(functools.partial(pixels, frame))
        yield Shown(start, duration, frame.is_corrupt, picture)


def _decode(container, stream) -> Iterator[tuple[float, float, av.VideoFrame]]:
    """Every frame from here on, in the order shown: start and duration in seconds, frame."""
    tick = float(stream.time_base)
    if container.format.name != "avi":
        for frame in container.decode(stream):
            if frame.pts is not None:
                yield frame.pts * tick, (frame.duration or 0) * tick, frame
        return
    # The n-th frame shown takes the place of the n-th packet stored (see `stamp`).
    places = []
    shown = 0
    for packet in container.demux(stream):
        if packet.size:
            places.append(stamp(container, packet))
        for frame in packet.decode():
            yield places[min(shown, len(places) - 1)] * tick, tick, frame
            shown += 1


def _pixels_of(stream, at_least) -> Callable[[av.VideoFrame], UInt8[np.ndarray, "h w 3"]]:
    """Make the function from a decoded frame to the picture that is meant to be seen.

    To be called before a frame is decoded, see `colours.Converter`.
    """
    converter = colours.Converter(stream)
    aspect = float(stream.sample_aspect_ratio or 1)
    if not 1 / 8 <= aspect <= 8:  # the header is wrong
        aspect = 1.0

    def pixels(frame: av.VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        turns = round(frame.rotation / 90) % 4
        image = converter.rgb(frame, _shrink(frame, at_least, turns))
        if aspect != 1:
            height, width = image.shape[:2]
            size = (round(width * max(aspect, 1)), round(height / min(aspect, 1)))
            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        return np.rot90(image, turns)

    return pixels


def _shrink(frame: av.VideoFrame, at_least: tuple[int, int] | None, turns: int) -> int:
    """By how much a frame may be shrunk, turned by so many right angles after it."""
    if at_least is None:
        return 1
    rows, columns = at_least[:: -1 if turns % 2 else 1]
    for by in (8, 4, 2):
        divides = frame.height % by == frame.width % by == 0
        if divides and frame.height >= by * rows and frame.width >= by * columns:
            return by
    return 1


def write_mp4(
    path: str | os.PathLike, video: UInt8[np.ndarray, "t h w 3"], fps: float, *, scale: int = 1
) -> Path:
    """Write a clip as H.264 (yuv420p, BT.709, crf 18), which every browser plays.

    The file appears whole under its name or not at all. Its bytes are not promised to be
    the same another time (x264's were not, now and then, on a busy machine).

    Args:
      fps: frames a second; kept to a fraction with a denominator of at most 1001.
      scale: enlarges every pixel to `scale` x `scale`, so that a 32 x 32 clip can be
        seen (and keeps its colours, which H.264 stores at half the resolution).
        An odd height or width is then made even by repeating the last row or column.

    Raises:
      UserError: the folder is missing or not writable, or the disk is full.
    """
    video = _enlarge(video, scale)
    height, width = video.shape[1:3]
    video = np.pad(video, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    rate = Fraction(fps).limit_denominator(1001)
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        # One thread, since the number of threads changes x264's bytes.
        options = {"crf": "18", "preset": "medium", "threads": "1"}
        # Each chroma sample stands in the middle of its four pixels, which is where swscale
        # takes it; left untold, readers would take it half a pixel further to the left.
        options["x264-params"] = "chromaloc=1"
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        bt709, limited = 1, 1  # their numbers in H.264 and libav
        context.colorspace = context.color_primaries = context.color_trc = bt709
        context.color_range = limited
        for image in video:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = frame.reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", threads=1
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return write_whole(path, memory.getvalue())


def write_gif(
    path: str | os.PathLike, video: UInt8[np.ndarray, "t h w 3"], fps: float, *, scale: int = 1
) -> Path:
    """Write a clip as a gif (see `gif_bytes`), whole or not at all.

    Raises:
      UserError: the folder is missing or not writable, or the disk is full.
    """
    return write_whole(path, gif_bytes(video, fps, scale=scale))


def gif_bytes(video: UInt8[np.ndarray, "t h w 3"], fps: float, *, scale: int = 1) -> bytes:
    """A clip as an endlessly repeated gif with one palette of 256 colours.

    A gif counts in hundredths of a second: delays are rounded so that the clip as a
    whole keeps its length, and none is under 0.02 s, below which browsers slow down to
    10 frames a second (so more than 50 frames a second play slower). `scale` as in
    `write_mp4`.
    """
    video = _enlarge(video, scale)
    # The palette is made from all frames at once, so that colours do not flicker; up to
    # 2^18 pixels stand for the whole clip.
    pixels = rearrange(video, "t h w c -> 1 (t h w) c")
    pixels = pixels[:, :: max(1, pixels.shape[1] >> 18)]
    palette = Image.fromarray(pixels).quantize(256, method=Image.Quantize.MEDIANCUT)
    frames = [
        Image.fromarray(image).quantize(palette=palette, dither=Image.Dither.NONE)
        for image in video
    ]
    stamps = np.round(np.arange(len(video) + 1) * 100 / fps).astype(int)
    delays = [10 * max(2, int(delay)) for delay in np.diff(stamps)]
    memory = io.BytesIO()
    frames[0].save(
        memory,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=delays,
        loop=0,
        optimize=False,
    )
    return memory.getvalue()


def _enlarge(video: np.ndarray, scale: int) -> UInt8[np.ndarray, "t h w 3"]:
    return repeat(video, "t h w c -> t (h a) (w b) c", a=scale, b=scale)
