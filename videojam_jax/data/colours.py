"""A decoded frame as the RGB picture it stands for."""

import dataclasses

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from videojam_jax.data import hdr
from videojam_jax.data.video_timing import VideoError

# How libswscale converts. By default it repeats each chroma sample, wherever that lies, and
# rounds down: a picture comes out up to 1.5 of 255 too dark, its colours half a pixel off.
_BILINEAR, _AREA = 0x2, 0x20
_EXACTLY = 0x2000 | 0x40000  # full chroma interpolation, accurate rounding

# libav's names of what is converted to, by (has alpha, is HDR). To planes, since that is
# two to three times as fast as to interleaved channels (and to "rgb48le" it is wrong).
_PLANES = {
    (False, False): "gbrp",
    (False, True): "gbrp16le",
    (True, False): "gbrap",
    (True, True): "gbrap16le",
}

# Numbers are those of ITU-T H.273, which are libav's.
_UNSPECIFIED, _BT709, _BT601, _BT2020 = 2, 1, 5, 9
_UNTOLD = (0, _UNSPECIFIED, 3)  # 0 and 3 are reserved; as a matrix, 0 is RGB itself
_FULL = 2  # libav's number of the range
# The matrices libswscale knows; the rest would end in "Operation not supported".
_READABLE = {_BT709, 4, _BT601, 6, 7, _BT2020}
_UNREADABLE = {
    8: "YCgCo",
    10: "BT.2020 with constant luminance",
    11: "Y'D'zD'x",
    13: "a matrix derived from its primaries with constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-R",
    17: "YCgCo-R",
}


@dataclasses.dataclass(frozen=True)
class _Tags:
    """What is said of a video's colours: numbers of H.273, and 2 for the full range."""

    matrix: int
    primaries: int
    transfer: int
    range: int


class Converter:
    """From the decoded frames of one stream to RGB.

    Matrix, range and place of the chroma samples are those a frame states, or else the
    container: some codecs (HEVC, ProRes) leave a frame untold whatever the container says.
    Where neither states a matrix it is BT.2020's for BT.2020 primaries, else BT.709's for a
    frame wider than 1279 or higher than 576 pixels and BT.601's below, as players take it.
    HDR (PQ, HLG) is brought to SDR, see `hdr`; other curves and primaries are left as they
    are. Transparency is laid over black.

    To be made before a frame is decoded, which makes libav forget the container's word,
    and used by one thread.
    """

    def __init__(self, stream):
        context = stream.codec_context
        self._stated = _Tags(
            context.colorspace, context.color_primaries, context.color_trc, context.color_range
        )
        self._libswscale = VideoReformatter()  # one for all frames: it is slow to set up

    def rgb(self, frame: av.VideoFrame, shrink: int = 1) -> UInt8[np.ndarray, "h w 3"]:
        """A frame's colours, full range; its tags are changed.

        Args:
          shrink: what is not stored as RGB is averaged over squares of so many pixels a
            side while it is converted, which is faster than afterwards. Divides both sides.

        Raises:
          VideoError: the colours are stored in a way that cannot be read.
        """
        transfer = _first_told(frame.color_trc, self._stated.transfer)
        primaries = _first_told(frame.color_primaries, self._stated.primaries)
        # libswscale would convert curves and primaries itself, or refuse those unknown to it.
        frame.color_trc = frame.color_primaries = _UNSPECIFIED
        has_alpha = any(component.is_alpha for component in frame.format.components)
        is_hdr = transfer in (hdr.PQ, hdr.HLG)
        is_rgb = frame.format.is_rgb or frame.format.has_palette
        if is_rgb:
            frame.colorspace = _UNSPECIFIED
        else:
            matrix = _first_told(frame.colorspace, self._stated.matrix)
            if matrix not in _READABLE:
                matrix = _likely_matrix(matrix, is_hdr or primaries == _BT2020, frame)
            frame.colorspace = matrix
            frame.color_range = frame.color_range or self._stated.range
        if is_rgb and not is_hdr:
            # Kept at its size, since libswscale shrinks no RGB without a way through YUV.
            image = self._convert(frame, "rgba" if has_alpha else "rgb24", 1).to_ndarray()
        else:
            image = _interleaved(self._convert(frame, _PLANES[has_alpha, is_hdr], shrink))
        colours, alpha = image[..., :3], image[..., 3:]
        if is_hdr:
            colours = hdr.to_sdr(colours, transfer, primaries, _one_of_16_bits(frame))
            alpha = alpha >> 8
        if has_alpha:
            colours = ((colours * alpha.astype(np.uint16) + 127) // 255).astype(np.uint8)
        return colours

    def _convert(self, frame: av.VideoFrame, kind: str, shrink: int) -> av.VideoFrame:
        # One thread: swscale would otherwise start one for each core, for every frame.
        return self._libswscale.reformat(
            frame,
            width=frame.width // shrink,
            height=frame.height // shrink,
            format=kind,
            interpolation=_EXACTLY | (_BILINEAR if shrink == 1 else _AREA),
            threads=1,
        )


def _interleaved(frame: av.VideoFrame) -> np.ndarray:
    """The planes green, blue, red (and alpha) as `[h, w, 3 or 4]`, red first."""
    kind = np.dtype("<u2" if "16" in frame.format.name else "u1")
    green, blue, red, *alpha = (
        np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width]
        for plane in frame.planes
    )
    return cv2.merge([red, green, blue, *alpha])


def _first_told(*numbers: int) -> int:
    return next((number for number in numbers if number not in _UNTOLD), _UNSPECIFIED)


def _likely_matrix(told: int, is_wide: bool, frame: av.VideoFrame) -> int:
    if told in _UNREADABLE:
        raise VideoError(f"its colours are {_UNREADABLE[told]}, which is not read")
    if is_wide:
        return _BT2020
    return _BT709 if frame.width >= 1280 or frame.height > 576 else _BT601


def _one_of_16_bits(frame: av.VideoFrame) -> int:
    """What libswscale makes of a code of 1.0 in 16 bits; it does not fill them quite."""
    bits = frame.format.components[0].bits
    kind = frame.format
    is_full = kind.is_rgb or kind.name.startswith("yuvj") or frame.color_range == _FULL
    return (1 << bits) - 1 << 16 - bits if is_full else 65283
