"""High dynamic range pictures (PQ and HLG) as BT.709 ones, in closed form.

    code  ->  light of the display, in nits      SMPTE ST 2084, or ARIB STD-B67 (BT.2100)
          ->  in BT.709's primaries              what lies outside of them is clipped
          ->  compressed to the range of SDR     the EETF of BT.2390, section 5.4
          ->  code                               the inverse of BT.1886, gamma 2.4

SDR's white stands for 203 nits, as BT.2408 has it, so a scene graded for both comes out
the same up to 88 nits (code 180 of 255); 88 to 1000 nits are compressed to what is left:
white (203 nits) becomes 230, and 1000 nits or more 255. The curve is applied to the
largest of the three channels and the others keep their share, so no hue changes. It is
one curve for all pictures: what a file says of its own peak is not used, so that a clip
looks the same whatever file it was cut from.
"""

import functools

import cv2
import numpy as np
from jaxtyping import Float, UInt8, UInt16

Numbers = Float[np.ndarray, "*n"] | float

# By their numbers in ITU-T H.273, which are libav's.
PQ, HLG = 16, 18

WHITE = 203.0  # nits, SDR's white
PEAK = 1000.0  # nits; brighter light is clipped
_PQ_PEAK = 10_000.0  # nits

# x, y of red, green and blue by number in H.273: BT.709, BT.2020, P3 with white D65.
_PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_D65 = (0.3127, 0.3290)

_STRIP = 1 << 14  # pixels converted at once, so that what lies between stays in the cache
_MOST = 2 * _PQ_PEAK  # nits in one channel, since BT.2020's red is 1.66 of BT.709's
_STEPS = 8191  # of the tables that are looked up by the root of the light


def to_sdr(
    rgb: UInt16[np.ndarray, "h w 3"], transfer: int, primaries: int, one: int = 65535
) -> UInt8[np.ndarray, "h w 3"]:
    """A picture's PQ or HLG codes as BT.709 codes.

    Args:
      transfer: `PQ` or `HLG`.
      primaries: their number in H.273; BT.2020's are taken for any but 1, 9 and 12.
      one: what stands for a code of 1.0 in `rgb`.
    """
    light_of, gain_of, code_of = _light_of(transfer, one), _gain_of(), _code_of()
    source = rgb_to_xyz(primaries)
    to_709 = np.linalg.solve(rgb_to_xyz(1), source).astype(np.float32)
    luminance = source[1:2].astype(np.float32)
    pixels = rgb.reshape(1, -1, 3)
    result = np.empty(pixels.shape, np.uint8)
    for first in range(0, pixels.shape[1], _STRIP):
        part = np.s_[:, first : first + _STRIP]
        light = light_of[pixels[part]]
        if transfer == HLG:
            light *= PEAK * cv2.transform(light, luminance)[..., None] ** np.float32(0.2)
        light = cv2.transform(light, to_709)
        largest = np.maximum(np.maximum(light[..., 0], light[..., 1]), light[..., 2])
        light *= gain_of[_root_index(largest, _MOST)][..., None]
        result[part] = code_of[_root_index(light, WHITE)]
    return result.reshape(rgb.shape)


def pq_to_nits(code: Numbers) -> Numbers:
    """The EOTF of SMPTE ST 2084: codes in [0, 1] to 0 .. 10 000 nits."""
    root = np.asarray(code, np.float64) ** (32 / 2523)
    return _PQ_PEAK * (np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)) ** (
        16384 / 2610
    )


def nits_to_pq(nits: Numbers) -> Numbers:
    """The inverse of `pq_to_nits`."""
    power = (np.asarray(nits, np.float64) / _PQ_PEAK) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def hlg_to_scene(code: Numbers) -> Numbers:
    """The inverse OETF of ARIB STD-B67: codes in [0, 1] to the scene's light in [0, 1]."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    code = np.asarray(code, np.float64)
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)


def compress(nits: Numbers) -> Numbers:
    """The EETF of BT.2390 from a display of `PEAK` nits to one of `WHITE`, both black at 0."""
    end = nits_to_pq(PEAK)
    white = nits_to_pq(WHITE) / end
    knee = 1.5 * white - 0.5
    code = np.minimum(nits_to_pq(nits) / end, 1)
    t = np.maximum(code - knee, 0) / (1 - knee)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (3 * t**2 - 2 * t**3) * white
    )
    return np.where(code < knee, nits, pq_to_nits(spline * end))


def rgb_to_xyz(primaries: int) -> Float[np.ndarray, "3 3"]:
    """Light in `primaries` (as in `to_sdr`) with white D65 to CIE XYZ; (1, 1, 1) has Y 1."""
    x, y = np.array(_PRIMARIES.get(primaries, _PRIMARIES[9])).T
    colours = np.stack([x / y, np.ones(3), (1 - x - y) / y])
    white = np.array([_D65[0] / _D65[1], 1, (1 - sum(_D65)) / _D65[1]])
    return colours * np.linalg.solve(colours, white)


@functools.cache
def _light_of(transfer: int, one: int) -> Float[np.ndarray, "65536"]:
    """The light of each code: in nits for PQ, of the scene for HLG."""
    code = np.minimum(np.arange(65536) / one, 1)
    return (pq_to_nits if transfer == PQ else hlg_to_scene)(code).astype(np.float32)


@functools.cache
def _gain_of() -> Float[np.ndarray, "steps"]:
    """What light is multiplied by, by the index of its root."""
    nits = np.maximum((np.arange(_STEPS + 1) / _STEPS) ** 2 * _MOST, 1e-6)
    return (compress(nits) / nits).astype(np.float32)


@functools.cache
def _code_of() -> UInt8[np.ndarray, "steps"]:
    """BT.1886's code, by the index of the root of its light."""
    return np.round(255 * (np.arange(_STEPS + 1) / _STEPS) ** (2 / 2.4)).astype(np.uint8)


def _root_index(nits: Float[np.ndarray, "*n"], most: float) -> np.ndarray:
    """The place of light in a table over the roots of 0 .. `most`."""
    root = np.sqrt(np.clip(nits, 0, most) * np.float32(_STEPS**2 / most))
    return (root + np.float32(0.5)).astype(np.intp)
