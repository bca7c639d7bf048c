"""Batches of pixels: a function of the seed and the step, whoever reads which rows of them."""

import contextlib
import itertools

import numpy as np
import pytest
from tiny_clips import TinyClips

from videojam_jax.data import raw_clips
from videojam_jax.data.clip import BadClip, Clip, ClipSpec
from videojam_jax.data.simulate import SimulatedOptions
from videojam_jax.data.sources import Simulated
from videojam_jax.errors import UserError
from videojam_jax.motion import flow_rgb

COUNT, BATCH, SIGMA = 10, 4, 0.15


def batches(source=None, **changes):
    source = TinyClips(COUNT, bad=()) if source is None else source
    arguments = {
        "flow": lambda clip: clip.flow,
        "sigma": SIGMA,
        "seed": 3,
        "batch_size": BATCH,
        "clips": len(source),
        "flow_share": 0.25,
        "image_share": 0.3,
    }
    return raw_clips.batches(source, **{**arguments, **changes})


def first(count, **changes):
    with contextlib.closing(batches(**changes)) as iterator:
        return list(itertools.islice(iterator, count))


def assert_equal(found, wanted):
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


# --- the position of a run --------------------------------------------------------------


@pytest.mark.parametrize("start", [1, 5])
def test_a_run_that_starts_at_a_step_reads_what_an_uninterrupted_one_reads_there(start):
    whole = first(start + 4)
    for found, wanted in zip(first(4, start_step=start), whole[start:], strict=True):
        assert_equal(found, wanted)


@pytest.mark.parametrize("split", [[[0, 1], [2, 3]], [[0], [3, 1], [2]], [[2, 0, 3, 1]]], ids=str)
def test_the_rows_of_a_step_are_the_same_however_they_are_split(split):
    parts = [first(6, rows=np.array(rows), threads=1 + len(rows)) for rows in split]
    order = list(itertools.chain(*split))
    for step, whole in enumerate(first(6)):
        for name in whole:
            read = np.concatenate([part[step][name] for part in parts])
            np.testing.assert_array_equal(read, whole[name][order], err_msg=f"{step}: {name}")


def test_another_seed_is_another_order_and_other_steps_with_images():
    runs = [first(12, seed=seed, flow_share=0.0) for seed in (3, 4)]
    assert [b["video"].shape[1] for b in runs[0]] != [b["video"].shape[1] for b in runs[1]]
    clips = [[b["video"][:, 0].tobytes() for b in run] for run in runs]
    assert clips[0] != clips[1]


def test_every_clip_is_seen_once_in_an_epoch_and_none_beyond_the_first_so_many():
    source = TinyClips(COUNT + 6, bad=())
    pixels = [source[i].video.tobytes() for i in range(COUNT)]
    read = first(
        5, source=source, clips=COUNT, batch_size=2, flow_share=0.0, image_share=0.0
    )
    rows = [row.tobytes() for batch in read for row in batch["video"]]
    assert sorted(rows) == sorted(pixels)


# --- flow clips and images --------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "rows"), [(0.0, []), (0.25, [3, 7]), (0.5, [1, 3, 5, 7]), (1.0, [*range(8)])]
)
def test_flow_clips_are_the_same_evenly_spread_rows_of_every_batch(share, rows):
    for batch in first(3, batch_size=8, flow_share=share):
        assert np.flatnonzero(batch["is_flow"]).tolist() == rows


@pytest.mark.parametrize("split", [[0, 1, 2, 3], [4, 5, 6, 7], [7, 2]])
def test_a_flow_clip_is_one_by_its_row_of_the_global_batch(split):
    (batch,) = first(1, batch_size=8, flow_share=0.25, rows=split)
    assert batch["is_flow"].tolist() == [row in (3, 7) for row in split]


def test_image_steps_are_a_share_of_the_steps_and_have_first_frames_alone():
    read, frames = first(200, image_share=0.3, batch_size=1, flow_share=0.0), 4
    lengths = [batch["video"].shape[1] for batch in read]
    assert set(lengths) == {1, frames}
    images = lengths.count(1) / len(lengths)
    print(f"{images:.1%} of the steps are images")
    assert abs(images - 0.3) < 4 * (0.3 * 0.7 / len(lengths)) ** 0.5
    step = lengths.index(1)
    (whole,) = first(1, start_step=step, image_share=0.0, batch_size=1, flow_share=0.0)
    np.testing.assert_array_equal(read[step]["video"], whole["video"][:, :1])
    assert all(b["video"].shape[1] == 1 for b in first(3, image_share=1.0))


def test_flow_clips_are_the_colours_of_the_exact_flow_to_the_bit():
    spec = ClipSpec(frames=4, height=16, width=16, fps=8.0)
    source = Simulated(SimulatedOptions(clips=6), spec)
    (batch,) = first(
        1, source=source, batch_size=6, flow_share=1.0, image_share=0.0, clips=6
    )
    wanted = set()
    for i in range(6):
        # Frame i carries the flow to frame i + 1, the last one that which led to it.
        flow = source[i].flow
        flow = np.concatenate([flow, flow[-1:]])
        wanted.add(np.round(255 * flow_rgb.flow_to_rgb(flow, SIGMA)).astype(np.uint8).tobytes())
    assert batch["video"].dtype == np.uint8
    assert {row.tobytes() for row in batch["video"]} == wanted
    assert batch["video"].any(), "something moves"


def test_the_flow_is_asked_for_flow_rows_alone():
    asked = []

    def flow(clip):
        asked.append(clip.source_id)
        return clip.flow

    first(2, flow=flow, flow_share=0.0)
    assert not asked
    first(2, flow=flow, flow_share=0.25)
    assert asked


# --- clips that cannot be used ----------------------------------------------------------


def test_a_bad_clip_gives_its_place_to_the_next_and_is_told_once():
    told = []
    bad = TinyClips(COUNT, bad=(2, 3, 9))
    options = {"batch_size": COUNT, "flow_share": 0.0, "image_share": 0.0}
    read = first(5, source=bad, tell_bad=told.append, **options)
    good = TinyClips(COUNT, bad=())
    pixels = [good[i].video.tobytes() for i in range(COUNT)]
    for found, whole in zip(read, first(5, **options), strict=True):
        for row, wanted in zip(found["video"], whole["video"], strict=True):
            index = pixels.index(wanted.tobytes())
            place = {2: 4, 3: 4, 9: 0}.get(index, index)
            assert pixels.index(row.tobytes()) == place
    assert sorted(one.source_id for one in told) == ["tiny:2", "tiny:3", "tiny:9"]
    assert {one.reason for one in told} == {"truncated"}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_clip_whose_flow_is_not_finite_is_no_flow_clip_but_a_clip(value):
    def flow(clip):
        return np.full_like(clip.flow, value) if clip.source_id == "tiny:5" else clip.flow

    told = []
    options = {"batch_size": COUNT, "image_share": 0.0}
    (found,) = first(1, flow=flow, flow_share=1.0, tell_bad=told.append, **options)
    (whole,) = first(1, flow_share=1.0, **options)
    assert [(one.source_id, one.reason) for one in told] == [("tiny:5", "its flow is not finite")]
    replaced = (found["video"] != whole["video"]).any(axis=(1, 2, 3, 4))
    assert replaced.sum() == 1
    assert_equal(
        first(1, flow=flow, flow_share=0.0, **options)[0], first(1, flow_share=0.0, **options)[0]
    )


def test_a_source_of_bad_clips_alone_is_an_error_that_names_the_reason():
    told = []
    nothing = TinyClips(COUNT, bad=range(COUNT))
    with pytest.raises(UserError, match=r"none of 10 clips in a row.*tiny:\d+: truncated"):
        first(1, source=nothing, tell_bad=told.append)
    assert len(told) == len({one.source_id for one in told})


def test_a_long_source_is_not_read_to_its_end_for_one_good_clip():
    class Nothing:
        def __len__(self):
            return 1_000_000

        def __getitem__(self, index):
            raise BadClip(f"bad:{index}", "no file")

    with pytest.raises(UserError, match="none of 100 clips"):
        first(1, source=Nothing())


def test_pixels_without_flow_are_the_clip_itself():
    video = np.zeros((4, 8, 8, 3), np.uint8)
    assert raw_clips.pixels(Clip(video, "", "x", 8.0), None, SIGMA) is video
