"""Clips whose frames are to be encoded in another order."""

import dataclasses

import numpy as np
import pytest
from tiny_clips import BAD, SHAPE, TinyClips

from videojam_jax.data.clip import BadClip
from videojam_jax.data.permuted import Permuted, permutation


def test_permutations_are_of_seed_and_clip_and_none_leaves_all_where_it_is():
    assert all((permutation(3, clip, 2) == [1, 0]).all() for clip in range(50))
    found = np.stack([permutation(3, clip, 6) for clip in range(50)])
    assert (np.sort(found, 1) == np.arange(6)).all()
    assert (found != np.arange(6)).any(1).all() and len(np.unique(found, axis=0)) > 40
    np.testing.assert_array_equal(found[7], permutation(3, 7, 6))
    assert any((permutation(4, clip, 6) != found[clip]).any() for clip in range(5))
    assert permutation(0, 3, 1).tolist() == [0]


def test_a_permuted_clip_is_the_source_s_but_for_its_order():
    source = TinyClips()
    permuted = Permuted(source, seed=2, clips=7)
    assert len(permuted) == 7 and permuted.set_aside == source.set_aside
    for index in set(range(7)) - set(BAD):
        clip, there = permuted[index], source[index]
        np.testing.assert_array_equal(clip.order, permutation(2, index, SHAPE[0]))
        for name in ("video", "flow"):
            np.testing.assert_array_equal(getattr(clip, name), getattr(there, name))
        assert (clip.caption, clip.source_id) == (there.caption, there.source_id)
        assert dataclasses.replace(clip, order=None).order is there.order
    with pytest.raises(BadClip, match="truncated"):
        permuted[BAD[0]]
    with pytest.raises(IndexError):
        permuted[7]
    assert len(Permuted(source, 2, 1000)) == len(source)


def test_what_a_folder_was_made_from_tells_the_orders_apart():
    told = [Permuted(TinyClips(), seed, clips).describe() for seed, clips in
            ((0, 7), (1, 7), (0, 8))]  # fmt: skip
    assert told[0] == {"name": "tiny", "clips": 7, "permuted": 0}
    assert told[0] != told[1] != told[2] != told[0]
