"""The dynamic degree: VBench's thresholds, each from both sides."""

import numpy as np
import pytest

from videojam_jax.measure.dynamic import dynamic_degree, interval


def clip_flow(pairs, moving, speed, share=0.05, size=(64, 96)):
    """Flow of which `moving` pairs have `share` of their pixels at `speed`."""
    flow = np.zeros((pairs, size[0] * size[1], 2), np.float32)
    flow[:moving, : int(share * size[0] * size[1])] = np.float32([0, -speed])
    return flow.reshape(pairs, *size, 2)


def test_the_threshold_is_6_pixels_at_256():
    assert dynamic_degree(clip_flow(15, 15, 1.51), fps=8.0) == 1
    assert dynamic_degree(clip_flow(15, 15, 1.49), fps=8.0) == 0
    assert dynamic_degree(clip_flow(3, 3, 6.1, size=(256, 256)), fps=8.0) == 1
    assert dynamic_degree(clip_flow(3, 3, 5.9, size=(256, 256)), fps=8.0) == 0


def test_the_threshold_is_larger_below_8_frames_a_second():
    assert dynamic_degree(clip_flow(15, 15, 2.9), fps=4.0) == 0
    assert dynamic_degree(clip_flow(15, 15, 3.1), fps=4.0) == 1


def test_a_quarter_of_the_frames_must_pass():
    assert dynamic_degree(clip_flow(15, 4, 9.0), fps=8.0) == 1
    assert dynamic_degree(clip_flow(15, 3, 9.0), fps=8.0) == 0


def test_the_fastest_twentieth_counts_by_its_mean():
    assert dynamic_degree(clip_flow(15, 15, 4.0, share=0.02), fps=8.0) == 1
    assert dynamic_degree(clip_flow(15, 15, 4.0, share=0.018), fps=8.0) == 0


@pytest.mark.parametrize("pairs", [1, 2, 5, 40])
def test_a_motionless_clip_of_any_length_is_not_dynamic(pairs):
    assert dynamic_degree(clip_flow(pairs, 0, 0.0, size=(2, 2)), fps=8.0) == 0


def test_frames_are_sampled_at_about_8_a_second():
    assert [interval(fps) for fps in (1, 8, 11.9, 12.1, 16, 24, 30)] == [1, 1, 1, 2, 2, 3, 4]
