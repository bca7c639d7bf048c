"""The Frechet distance against its closed forms."""

import numpy as np
import pytest
import scipy.linalg

from videojam_jax.measure.frechet import frechet_distance, frechet_floor, gaussian_distance


def covariance(rng, size, rank=None):
    factor = rng.standard_normal((size, rank or size))
    return factor @ factor.T


def test_one_dimension_is_the_difference_of_means_and_of_deviations():
    # (m1 - m2)^2 + (s1 - s2)^2 = 9 + 4
    found = gaussian_distance(np.zeros(1), np.array([[1.0]]), np.array([3.0]), np.array([[9.0]]))
    assert found == pytest.approx(13)


def test_commuting_covariances_differ_by_their_deviations():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    one, two = rng.random(5), rng.random(5)
    found = gaussian_distance(
        np.zeros(5), axes * one**2 @ axes.T, np.zeros(5), axes * two**2 @ axes.T
    )
    assert found == pytest.approx(((one - two) ** 2).sum())


def test_the_root_is_that_of_a_matrix_square_root():
    rng = np.random.default_rng(1)
    one, two = covariance(rng, 6), covariance(rng, 6)
    wanted = np.trace(one + two - 2 * scipy.linalg.sqrtm(one @ two).real)
    assert gaussian_distance(np.zeros(6), one, np.zeros(6), two) == pytest.approx(wanted)


def test_distance_of_gaussians_is_symmetric_also_without_full_rank():
    rng = np.random.default_rng(2)
    one, two = (rng.standard_normal(8), covariance(rng, 8, 3)), (np.zeros(8), covariance(rng, 8, 5))
    assert gaussian_distance(*one, *two) == pytest.approx(gaussian_distance(*two, *one))


def test_a_set_has_no_distance_from_itself_in_any_order():
    clips = np.random.default_rng(3).standard_normal((50, 7))
    assert frechet_distance(clips, clips) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(clips, clips[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(clips[:3], clips[:3]) == pytest.approx(0, abs=1e-6)


def test_a_shift_counts_in_standard_deviations_of_the_real_set():
    clips = np.random.default_rng(4).standard_normal((60, 5)) * [1, 10, 100, 0.1, 1] + 7
    shift = np.array([0, 30.0, 0, 0, 0])
    wanted = (30 / clips[:, 1].std()) ** 2
    assert frechet_distance(clips, clips + shift) == pytest.approx(wanted)


def test_the_units_of_a_feature_do_not_matter():
    rng = np.random.default_rng(5)
    real, other = rng.standard_normal((40, 4)), 0.3 + 2 * rng.standard_normal((30, 4))
    units = np.array([1, 1e3, 50, 0.2])
    found = frechet_distance(real * units + 5, other * units + 5)
    assert found == pytest.approx(frechet_distance(real, other))


def test_features_that_never_change_and_single_clips_give_finite_distances():
    real = np.random.default_rng(6).standard_normal((10, 30))
    real[:, 4] = 1
    for other in (real[:1], real[:2] + 1, np.zeros((3, 30))):
        assert np.isfinite(frechet_distance(real, other))
        assert np.isfinite(frechet_distance(other, real))


def test_no_clips_have_no_distance():
    with pytest.raises(ValueError, match="0 other"):
        frechet_distance(np.zeros((3, 2)), np.zeros((0, 2)))


def test_floor_is_above_nearly_all_distances_of_sets_from_one_source():
    rng = np.random.default_rng(7)
    floor = frechet_floor(rng.standard_normal((128, 10)))
    found = [
        frechet_distance(rng.standard_normal((64, 10)), rng.standard_normal((64, 10)))
        for _ in range(100)
    ]
    assert 0.85 <= np.mean(np.array(found) <= floor) < 1, (floor, np.quantile(found, 0.95))
    other = rng.standard_normal((64, 10)) + 1
    assert frechet_distance(rng.standard_normal((64, 10)), other) > floor


def test_floor_is_a_function_of_its_arguments_and_falls_with_the_number_of_clips():
    real = np.random.default_rng(8).standard_normal((200, 6))
    assert frechet_floor(real) == frechet_floor(real, 100)
    floors = [frechet_floor(real, size) for size in (20, 50, 100)]
    assert floors[0] > 1.5 * floors[1] > 2 * floors[2], floors


def test_floor_needs_two_sets_of_its_size():
    with pytest.raises(ValueError, match="two disjoint sets of 6 clips from 11"):
        frechet_floor(np.zeros((11, 2)), 6)
