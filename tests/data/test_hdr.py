"""The closed form of HDR: published values, and the tables against the formulas."""

import numpy as np
import pytest

from videojam_jax.data import hdr


def test_hdr_curves_have_the_standards_values():
    nits = np.array([1.0, 26, 100, 203, 1000, 4000, 10_000])
    codes = [0.1500, 0.3800, 0.5081, 0.5807, 0.7518, 0.9026, 1]
    np.testing.assert_allclose(hdr.nits_to_pq(nits), codes, atol=1e-4)
    np.testing.assert_allclose(hdr.pq_to_nits(hdr.nits_to_pq(nits)), nits, rtol=1e-6)
    np.testing.assert_allclose(hdr.hlg_to_scene(np.array([0, 0.5, 1])), [0, 1 / 12, 1], atol=1e-6)
    assert 1000 * hdr.hlg_to_scene(0.75) ** 1.2 == pytest.approx(203, abs=0.5)
    to_2020 = np.linalg.solve(hdr.rgb_to_xyz(9), hdr.rgb_to_xyz(1))
    bt2087 = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    np.testing.assert_allclose(to_2020, bt2087, atol=1e-4)


def test_the_range_is_compressed_smoothly_and_only_above_the_knee():
    nits = np.linspace(0, 1200, 12_001)
    light = hdr.compress(nits)
    np.testing.assert_array_equal(light[nits < 87], nits[nits < 87])
    slope = np.diff(light) / 0.1
    assert slope.min() >= 0
    assert slope.max() < 1.001
    assert np.abs(np.diff(slope)).max() < 0.01
    assert light[-1] == pytest.approx(203)
    assert light[2030] == pytest.approx(159, abs=0.1)


@pytest.mark.parametrize("transfer", [hdr.PQ, hdr.HLG])
@pytest.mark.parametrize("primaries", [1, 9, 12])
def test_tables_give_what_the_formulas_give(transfer, primaries):
    rgb = np.random.default_rng(primaries).integers(0, 65536, (50, 400, 3)).astype(np.uint16)
    code = rgb / 65535
    if transfer == hdr.PQ:
        light = hdr.pq_to_nits(code)
    else:
        scene = hdr.hlg_to_scene(code)
        light = 1000 * scene * (scene @ hdr.rgb_to_xyz(primaries)[1:2].T) ** 0.2
    light = light @ np.linalg.solve(hdr.rgb_to_xyz(1), hdr.rgb_to_xyz(primaries)).T
    largest = np.maximum(light.max(-1, keepdims=True), 1e-9)
    light = light * hdr.compress(largest) / largest
    expected = 255 * (np.clip(light, 0, 203) / 203) ** (1 / 2.4)
    assert np.abs(hdr.to_sdr(rgb, transfer, primaries) - expected).max() < 0.6
