"""When the frames of a video file are shown, from its index or its packets.

Containers: mp4/mov, mkv/webm, avi and gif, whatever their extension says. libav's
own log stays off, as PyAV leaves it; what went wrong is in the exceptions.
"""

import contextlib
import dataclasses
import errno
import math
import os
import stat

import av
from av.stream import Disposition

from videojam_jax.errors import MayPass, may_pass

# Pixels of a frame: 8192 x 4352, what the highest levels of HEVC and AV1 allow. A small file may
# have any number of them, and a frame takes up to 24 bytes a pixel on the way to its clip.
MOST_PIXELS = 8192 * 4352

# Only the containers a video folder is meant to hold, and only local files: libav
# would otherwise take a text file for a playlist and open the addresses in it.
# The last one is for decoders: to open some files is to decode their first frame.
_OPEN_OPTIONS = {
    "format_whitelist": "mov,matroska,avi,gif",
    "protocol_whitelist": "file",
    "max_pixels": str(MOST_PIXELS),
}
# Titles and comments in a broken encoding are no reason to refuse a video. PyAV has no
# such argument any more from version 19 on.
_TOLERANT = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}

_OTHER_CONTAINER = (
    "none of mp4, mov, mkv, webm, avi and gif, whatever its name says; "
    "`ffmpeg -i FILE -c copy NEW.mp4` may bring it into one"
)
_UNKNOWN_CODEC = "its video codec is not known"

# mp4's names for Dolby Vision. Without a standard curve it is in colours of Dolby's own
# (profile 5), which come out green and violet; the other profiles are PQ, HLG or SDR.
_DOLBY_VISION = ("dvh1", "dvhe", "dav1")
_NO_CURVE = 2

_LONGEST_FRAME = 60.0  # seconds; no video shows its frames for longer on average


class VideoError(Exception):
    """This file, or this part of it, cannot be read as video; the message says why."""


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """When a file's frames are shown.

    Attributes:
      start: time stamp of the first frame, in seconds.
      duration: seconds from the first frame to the end of the last one.
      frames: how many frames the file holds.
      tick: the container's unit of time, in seconds.
      stream: the number of their stream in the file.
    """

    start: float
    duration: float
    frames: int
    tick: float
    stream: int

    @property
    def fps(self) -> float:
        """Frames a second on average."""
        return self.frames / self.duration

    @property
    def rounding(self) -> float:
        """Seconds by which a frame may be stamped later than its true time.

        mkv counts in milliseconds and gif in hundredths: at 24 frames a second
        frame 1 is stamped 0.042 or 0.04 for 0.041667. A frame is taken as shown this
        much before its stamp. An eighth of a frame is the most: avi's tick is a whole
        frame.
        """
        return min(self.tick / 2, self.duration / self.frames / 8) + 1e-6

    def samples(self, fps: float) -> int:
        """How many of the times i / fps, i = 0, 1, ..., fall before the last frame's end."""
        return max(1, math.ceil((self.duration - 2 * self.rounding) * fps))


def probe(path: str | os.PathLike) -> VideoInfo:
    """When the frames of `path` are shown; decodes nothing.

    Of several video streams the one with the most frames is taken, the first of equals.
    mp4 and mov name every frame in their index, so only that is read; the packets of
    the other containers are walked through.

    Raises:
      VideoError: not a video, no video stream, no frames, cut off, too large, or of a codec or
        in colours that cannot be read.
      MayPass: the disk or the network does not give it for now.
    """
    with open_video(path) as (container, stream):
        context = stream.codec_context
        if not 0 < context.width * context.height <= MOST_PIXELS:
            # libav tells no size of what it would not open.
            raise VideoError(
                "its frames are too large to decode, or of no size: at most "
                f"{MOST_PIXELS / 1e6:.1f} million pixels are read (8K)"
            )
        if context.codec_tag in _DOLBY_VISION and context.color_trc == _NO_CURVE:
            raise VideoError("Dolby Vision without a standard picture (profile 5)")
        info = None
        if "mov" in container.format.name:
            info = _from_index(stream, os.path.getsize(path))
        if container.format.name == "gif":
            _check_gif_end(path)
        info = info or _from_packets(container, stream)
    if info.duration > _LONGEST_FRAME * info.frames:
        # A damaged header, which would be cut into any number of clips.
        raise VideoError(f"its timing is wrong: {info.frames} frames in {info.duration:.0f} s")
    return info


@contextlib.contextmanager
def open_video(path: str | os.PathLike, stream: int | None = None):
    """Give `(container, stream)` of PyAV; libav's errors, also later ones, as VideoError.

    As MayPass where the disk or the network does not give the file for now.

    Args:
      stream: which one, as `VideoInfo.stream` has it; None looks for the one with the
        most frames, which walks through a file of several whose header does not say.
    """
    path = os.path.abspath(path)  # a relative "a:b.mp4" would read as a protocol
    opened = False
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise VideoError("not a regular file")
        if status.st_size == 0:
            raise VideoError("the file is empty (0 bytes)")
        open(path, "rb").close()  # what the system objects to, it says here
        with _opened(path) as container:
            opened = True
            found = _video_stream(path, container, stream)
            # Also of a frame that is larger than the header says.
            found.codec_context.options = {"max_pixels": _OPEN_OPTIONS["max_pixels"]}
            yield container, found
    except (av.error.FFmpegError, OSError) as error:
        by_system = _by_system(path, error)
        if by_system and may_pass(by_system):
            raise MayPass(f"{path} cannot be read: {by_system.strerror}") from error
        raise VideoError(_in_words(error, opened)) from error


def _opened(path: str):
    return av.open(path, options=dict(_OPEN_OPTIONS), **_TOLERANT)


def _by_system(path: str, error: Exception) -> OSError | None:
    """What the system said of the file; None where libav alone objects to it."""
    if not isinstance(error, av.error.FFmpegError):
        return error
    # libav says EIO for plain damage too; reading the file tells which.
    if error.errno == errno.EIO:
        try:
            with open(path, "rb") as file:
                while file.read(2**20):
                    pass
        except OSError as found:
            return found
    return None


def _in_words(error: Exception, opened: bool) -> str:
    """What an error of the system or of libav means for the file."""
    number = error.errno
    if not isinstance(error, av.error.FFmpegError):
        cause = os.strerror(number) if number else str(error)
        return f"cannot be read: {cause or 'no reason is given'}"
    if number == errno.EINVAL and not opened:  # `_OPEN_OPTIONS` is obeyed
        return _OTHER_CONTAINER
    if isinstance(error, av.error.DecoderNotFoundError):
        return _UNKNOWN_CODEC
    if isinstance(error, av.error.PatchWelcomeError) or number in (errno.ENOSYS, errno.EOPNOTSUPP):
        return "stored in a way that the installed FFmpeg cannot decode"
    # libav's other numbers of the system's mean little: it says EPERM for plain damage.
    if number == errno.EIO:
        return "damaged, cut off, or on a disk that fails"
    if isinstance(error, (av.error.InvalidDataError, av.error.EOFError)) and not opened:
        return "not a readable video, or cut off"
    return "damaged or cut off"


def stamp(container, packet_or_frame) -> int | None:
    """The time a packet or frame is shown, in ticks; None when it has none.

    avi stores no such times, and those libav guesses are wrong with B-frames. Its
    packets each take one place of a constant rate, in the order they are stored.
    """
    if container.format.name == "avi":
        return packet_or_frame.dts
    return packet_or_frame.pts


def _video_stream(path: str, container, number: int | None):
    if not len(container.streams):
        raise VideoError("holds no streams: not a video, or cut off before its index")
    # The cover picture of a sound file is a video stream too, of one frame.
    pictures = Disposition.attached_pic
    moving = [s for s in container.streams.video if not s.disposition & pictures]
    if not moving:
        raise VideoError("no video stream")
    if number is None and len(moving) > 1:
        number = _with_most_frames(path, moving)
    chosen = next((s for s in moving if s.index == number), moving[0])
    if chosen.codec_context is None:
        raise VideoError(_UNKNOWN_CODEC)
    chosen.codec_context.thread_count = 1  # clips are read in parallel, a thread each
    return chosen


def _with_most_frames(path: str, streams) -> int:
    """The number of the stream with the most frames, the first of equals."""
    counts = {stream.index: stream.frames for stream in streams}
    if not all(counts.values()):
        # mkv does not say, so all packets are counted, of a file opened apart.
        counts = dict.fromkeys(counts, 0)
        with _opened(path) as container:
            for packet in container.demux():
                if packet.stream_index in counts and packet.size and not packet.is_discard:
                    counts[packet.stream_index] += 1
    return max(counts, key=counts.get)


def _from_index(stream, size: int) -> VideoInfo | None:
    """Timing from an mp4's index; None when it does not name every frame.

    It does not in a fragmented file, or where an edit list cuts frames away.
    """
    ends = [entry.pos + entry.size for entry in stream.index_entries]
    if not ends or len(ends) != stream.frames or not stream.duration:
        return None
    missing = sum(end > size for end in ends)
    if missing:
        raise VideoError(f"cut off: {missing} of its {len(ends)} frames are missing")
    tick = float(stream.time_base)
    start = (stream.start_time or 0) * tick
    return VideoInfo(start, stream.duration * tick, len(ends), tick, stream.index)


def _from_packets(container, stream) -> VideoInfo:
    shown = []  # (stamp, duration) of each frame, in ticks
    last_end = 0.0  # of any stream, in seconds
    for packet in container.demux():
        start = stamp(container, packet)
        if start is None or packet.size == 0 or packet.is_discard:
            continue
        last_end = max(last_end, float((start + packet.duration) * packet.time_base))
        if packet.stream_index == stream.index:
            shown.append((start, packet.duration))
    if not shown:
        raise VideoError("holds no frames")
    tick = float(stream.time_base)
    first, (last, last_duration) = min(shown)[0], max(shown)
    rate = float(stream.guessed_rate or 25)
    interval = (last - first) / (len(shown) - 1) if last > first else 1 / (rate * tick)
    duration = (last - first + (last_duration or interval)) * tick
    # avi counts the places of its frames, of which some may be empty: dropped frames.
    if container.format.name == "avi" and (missing := stream.frames - 1 - last) > 1:
        raise VideoError(f"cut off: {missing} of its {stream.frames} frames are missing")
    stated = (container.duration or 0) / 1e6
    if last_end < stated - max(0.1, 2 * interval * tick):
        raise VideoError(f"cut off: {stated:.2f} s by its header, it ends at {last_end:.2f} s")
    return VideoInfo(first * tick, duration, len(shown), tick, stream.index)


def _check_gif_end(path: str | os.PathLike) -> None:
    # libav reads a gif that is cut off as a shorter one; the end mark tells them apart.
    with open(path, "rb") as file:
        file.seek(-min(64, os.path.getsize(path)), os.SEEK_END)
        if not file.read().rstrip(b"\0").endswith(b";"):
            raise VideoError("cut off: the gif has no end mark")
