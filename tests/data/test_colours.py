"""Colours of a file against what its codes stand for by the standards, HDR included."""

from fractions import Fraction

import av
import numpy as np
import pytest

from videojam_jax.data import hdr
from videojam_jax.data.video_file import read_video, write_mp4
from videojam_jax.data.video_timing import VideoError

SIZE = 64
BT709, BT601, UNSPECIFIED, BT2020, BT2020_10 = 1, 5, 2, 9, 14
WEIGHTS = {BT709: (0.2126, 0.0722), BT601: (0.299, 0.114), BT2020: (0.2627, 0.0593)}
# BT.2087: linear light in BT.709's primaries to BT.2020's.
TO_2020 = np.array([
    [0.6274, 0.3293, 0.0433],
    [0.0691, 0.9195, 0.0114],
    [0.0164, 0.0880, 0.8956],
])


def smooth(least: float = 0, most: float = 255) -> np.ndarray:
    """A picture of slow ramps from `least` to `most` in all three channels, not rounded."""
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1)
    return least + (most - least) * np.stack([x, y, (1 - x) * y], axis=-1)


def planes(rgb: np.ndarray, matrix: int, bits: int, full: bool) -> list[np.ndarray]:
    """R'G'B' in [0, 1] as the codes of Y', Cb and Cr at full resolution, not rounded."""
    red, blue = WEIGHTS[matrix]
    luma = rgb @ [red, 1 - red - blue, blue]
    cb = (rgb[..., 2] - luma) / (2 - 2 * blue)
    cr = (rgb[..., 0] - luma) / (2 - 2 * red)
    one = 1 << bits - 8
    if full:
        most = 256 * one - 1
        return [most * luma, most * cb + 128 * one, most * cr + 128 * one]
    return [(219 * luma + 16) * one, (224 * cb + 128) * one, (224 * cr + 128) * one]


def halved(plane: np.ndarray) -> np.ndarray:
    """Chroma at half resolution, each sample above its left pixels as H.264 has it."""
    plane = np.pad((plane[::2] + plane[1::2]) / 2, ((0, 0), (1, 1)), mode="edge")
    return (plane[:, :-2:2] + 2 * plane[:, 1:-1:2] + plane[:, 2::2]) / 4


def write(
    path,
    rgb,
    *,
    matrix=BT709,
    primaries=BT709,
    transfer=BT709,
    told=None,
    bits=8,
    full=False,
    codec="libx264",
    pix_fmt="yuv420p",
    options=None,
    alpha=None,
):
    """Write R'G'B' in [0, 1] as two frames without loss; `told` is the matrix that is stated."""
    kind = np.uint8 if bits == 8 else np.dtype("<u2")
    values = planes(rgb, matrix, bits, full)
    if "420" in pix_fmt:
        values[1:] = map(halved, values[1:])
    if alpha is not None:
        values.append(alpha * ((1 << bits) - 1))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24, options=options or {})
        stream.height, stream.width = rgb.shape[:2]
        stream.pix_fmt = pix_fmt
        context = stream.codec_context
        context.colorspace = matrix if told is None else told
        context.color_primaries, context.color_trc = primaries, transfer
        context.color_range = 2 if full else 1
        for number in range(2):
            frame = av.VideoFrame(rgb.shape[1], rgb.shape[0], pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 24)
            for plane, value in zip(frame.planes, values, strict=True):
                rows = np.zeros((plane.height, plane.line_size // np.dtype(kind).itemsize), kind)
                rows[:, : value.shape[1]] = np.round(value)
                plane.update(rows.tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


H264 = {"codec": "libx264", "options": {"qp": "0"}}
# Without B-frames, since x265 gives so short a stream with them times from uninitialised memory.
LOSSLESS = "lossless=1:bframes=0:log-level=none"
HEVC = {"codec": "libx265", "options": {"x265-params": LOSSLESS}}
TEN_BIT = {"bits": 10, "pix_fmt": "yuv420p10le"}
PQ = {"matrix": BT2020, "primaries": BT2020, "transfer": hdr.PQ, **TEN_BIT}
HLG = {"matrix": BT2020, "primaries": BT2020, "transfer": hdr.HLG, **TEN_BIT}


def pq_codes(nits: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, equation 5.2."""
    y = (np.asarray(nits) / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def hlg_codes(nits: np.ndarray) -> np.ndarray:
    """BT.2100: the inverse OOTF of a display of 1000 nits, then the OETF."""
    light = np.maximum(np.asarray(nits) / 1000, 1e-12)
    luminance = light @ [[0.2627], [0.6780], [0.0593]]
    scene = np.minimum(light * luminance ** (-0.2 / 1.2), 1)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


CODES = {hdr.PQ: pq_codes, hdr.HLG: hlg_codes}


def graded(sdr: np.ndarray, transfer: int) -> np.ndarray:
    """BT.709 codes, 0 to 255, as the HDR codes of the same light with white at 203 nits."""
    return CODES[transfer](203 * (sdr / 255) ** 2.4 @ TO_2020.T)


@pytest.mark.parametrize(
    "name, changes", [("pq.mp4", PQ | HEVC), ("hlg.mp4", HLG | HEVC), ("pq.mkv", PQ | H264)]
)
def test_hdr_looks_like_the_same_scene_in_sdr(tmp_path, name, changes):
    # Nothing brighter than the knee (180) is compressed.
    scene = smooth(40, 178)
    path = write(tmp_path / name, graded(scene, changes["transfer"]), **changes)
    error = read_video(path)[0] - scene
    assert np.abs(error.mean((0, 1))).max() < 0.1
    assert np.abs(error).mean() < 0.5
    assert np.abs(error).max() < 5


@pytest.mark.parametrize("changes", [PQ | H264, HLG | H264], ids=["pq", "hlg"])
def test_hdr_greys_and_colours_of_known_light_become_known_codes(tmp_path, changes):
    # BT.2408: a grey card is 26 nits, white paper 203. 88 nits are the knee.
    greys = [0, 1, 26, 60, 88, 203, 400, 1000]
    expected = [0, 27.9, 108.3, 153.4, 180, 230.3, 250, 255]
    light = np.repeat(greys, 8)[None, :, None] * np.ones((SIZE, 1, 3))
    path = write(tmp_path / "greys.mp4", CODES[changes["transfer"]](light), **changes)
    image = read_video(path)[0, :, 4::8]
    assert np.abs(image - np.reshape(expected, (1, 8, 1))).max() < 1.6
    # Saturated colours of BT.709 at light that SDR has too.
    colours = 60 + 100.0 * np.array(list(np.ndindex(2, 2, 2)))
    bars = np.broadcast_to(np.repeat(colours, 8, axis=0), (SIZE, SIZE, 3))
    path = write(tmp_path / "bars.mp4", graded(bars, changes["transfer"]), **changes)
    image = read_video(path)[0, :, 4::8].astype(float)
    assert np.abs(image - colours).max() < 2.5


def test_hdr_in_full_range_and_with_transparency_is_converted_too(tmp_path):
    scene = smooth(40, 178)
    codes = graded(scene, hdr.PQ)
    path = write(tmp_path / "full.mp4", codes, full=True, **PQ | HEVC)
    assert np.abs(read_video(path)[0] - scene).mean() < 0.5
    alpha = np.full((SIZE, SIZE), 0.5)
    changes = PQ | {"codec": "ffv1", "pix_fmt": "yuva444p10le"}
    path = write(tmp_path / "half.mkv", codes, alpha=alpha, **changes)
    assert np.abs(read_video(path)[0] - scene / 2).mean() < 0.5


def test_hdr_without_a_stated_matrix_has_bt2020s(tmp_path):
    scene = smooth(40, 178)
    path = write(tmp_path / "a.mp4", graded(scene, hdr.PQ), told=UNSPECIFIED, **PQ | H264)
    assert np.abs(read_video(path)[0] - scene).mean() < 0.5


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_hdr_that_only_the_container_tells_of_is_converted_too(tmp_path, name):
    # HEVC's decoder leaves a frame untold where the stream itself says nothing.
    scene = smooth(40, 178)
    untold = {"told": UNSPECIFIED, "primaries": UNSPECIFIED, "transfer": UNSPECIFIED}
    bare = write(
        tmp_path / "bare.mp4", graded(scene, hdr.PQ), matrix=BT2020, **untold, **TEN_BIT, **HEVC
    )
    path = tmp_path / name
    with av.open(str(bare)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = BT2020, BT2020, hdr.PQ
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    assert np.abs(read_video(path)[0] - scene).mean() < 0.5


def test_sdr_of_ten_bits_in_bt2020_keeps_its_codes(tmp_path):
    scene = smooth()
    changes = {"matrix": BT2020, "primaries": BT2020, "transfer": BT2020_10, **TEN_BIT}
    error = read_video(write(tmp_path / "a.mp4", scene / 255, **changes | HEVC))[0] - scene
    assert np.abs(error.mean((0, 1))).max() < 0.1
    assert np.abs(error).mean() < 0.5


@pytest.mark.parametrize("bits, pix_fmt", [(8, "yuv420p"), (10, "yuv420p10le")])
def test_colours_come_back_without_a_bias(tmp_path, bits, pix_fmt):
    scene = smooth()
    path = write(tmp_path / "a.mp4", scene / 255, bits=bits, pix_fmt=pix_fmt, **H264)
    error = read_video(path)[0] - scene
    assert np.abs(error.mean((0, 1))).max() < 0.1
    assert np.abs(error).mean() < 0.6


@pytest.mark.parametrize("bits, pix_fmt", [(8, "yuv420p"), (10, "yuv420p10le")])
def test_a_large_frame_is_averaged_while_it_is_converted(tmp_path, bits, pix_fmt):
    scene = smooth()
    path = write(tmp_path / "a.mp4", scene / 255, bits=bits, pix_fmt=pix_fmt, **H264)
    for at_least, side in (((16, 16), 16), ((17, 5), 32), ((33, 33), 64)):
        shrunk = read_video(path, at_least=at_least)[0]
        by = SIZE // side
        expected = scene.reshape(side, by, side, by, 3).mean((1, 3))
        assert shrunk.shape == (side, side, 3)
        error = (shrunk - expected)[1:-1, 1:-1]  # libswscale repeats the outermost chroma
        assert np.abs(error.mean((0, 1))).max() < 0.15
        assert np.abs(error).max() < 2.5


def test_a_written_clip_has_its_colours_where_they_were(tmp_path):
    # Had the file not said where its chroma lies, red would come out 1.5 too high here.
    scene = np.round(smooth()).astype(np.uint8)
    back = read_video(write_mp4(tmp_path / "a.mp4", np.stack([scene] * 3), 8.0))
    error = back.astype(int) - scene
    assert np.abs(error.mean((0, 1, 2))).max() < 0.3


@pytest.mark.parametrize(
    "height, width, matrix",
    [(16, 1280, BT709), (578, 16, BT709), (576, 16, BT601), (16, 1278, BT601)],
)
def test_an_unstated_matrix_is_that_of_the_size(tmp_path, height, width, matrix):
    scene = np.full((height, width, 3), (200, 60, 40.0))
    untold = {"told": UNSPECIFIED, "primaries": UNSPECIFIED, "transfer": UNSPECIFIED}
    path = write(tmp_path / "a.mp4", scene / 255, matrix=matrix, **untold, **H264)
    assert np.abs(read_video(path)[0] - scene).max() < 2


@pytest.mark.parametrize("told, name", [(8, "YCgCo"), (10, "BT.2020 with constant luminance")])
def test_a_matrix_that_cannot_be_read_is_named(tmp_path, told, name):
    path = write(tmp_path / "a.mp4", smooth() / 255, told=told, **H264)
    with pytest.raises(VideoError, match=f"its colours are {name}, which is not read"):
        read_video(path)
