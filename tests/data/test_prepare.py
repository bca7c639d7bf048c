"""prepare: what it stores, that it can be killed, and what it says when it cannot go on."""

import contextlib
import os
import random
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_clips
from tiny_clips import BAD, COUNT, SHAPE, CountingText, TinyClips, digest, prepare_tiny

from videojam_jax.data import shards
from videojam_jax.data.clip import BadClip
from videojam_jax.data.loader import open_dataset
from videojam_jax.data.prepare import Share
from videojam_jax.errors import UserError
from videojam_jax.models.autoencoders.pixels import Pixels
from videojam_jax.models.text.bytes import ByteText
from videojam_jax.motion import flow_rgb
from videojam_jax.motion.latent import MotionCode

GOOD = [index for index in range(COUNT) if index not in BAD]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder prepared by one run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "clips"
    prepare_tiny(out)
    return out


# --- what is stored --------------------------------------------------------------------


def test_records_hold_the_latents_of_clip_and_flow_in_the_order_of_the_source(whole):
    dataset, source, pixels = open_dataset(whole), TinyClips(), Pixels((1, 2, 2))
    assert len(dataset) == len(GOOD)
    for position, index in enumerate(GOOD):
        clip, record = source[index], dataset[position]
        rgb = flow_rgb.flow_to_rgb(flow_rgb.repeat_last(clip.flow), 0.15)
        wanted = {"video": clip.video / np.float32(127.5) - 1, "motion": 2 * rgb - 1}
        for key, pixel_video in wanted.items():
            latent = np.asarray(pixels.encode(jnp.asarray(pixel_video)[None])[0])
            assert record[key].dtype == jnp.bfloat16 and record[key].shape == latent.shape
            # bfloat16 keeps 8 bits: half of 2^-7 of the value.
            np.testing.assert_allclose(
                record[key].astype(np.float32), latent, rtol=2**-8, atol=1e-5
            )
        np.testing.assert_array_equal(record["text"], ByteText(32).encode([clip.caption])[0])
        for key in ("caption", "source_id", "fps"):
            assert record[key] == getattr(clip, key)


def test_the_manifest_counts_clips_and_names_what_was_set_aside_and_why(whole):
    manifest = prepare_tiny(whole)
    assert manifest["clips"] == len(GOOD)
    assert manifest["set_aside"] == {
        "count": 3,
        "reasons": {"truncated": 2, "no video": 1},
        "clips": [
            {"source": "x.mp4", "reason": "no video"},
            {"source": "tiny:3", "reason": "truncated"},
            {"source": "tiny:10", "reason": "truncated"},
        ],
    }
    assert manifest["shapes"] == {"video": [*SHAPE], "latent": [4, 8, 8, 12]}
    assert manifest["longest_text"] == 1 + len(tiny_clips.CAPTIONS[2].encode())
    assert [shard["clips"] for shard in manifest["shards"]] == [5, 5, 6, 6, 5]
    assert {"jax", "grain", "array-record"} <= set(manifest["versions"])


def test_each_caption_is_encoded_once_in_a_shard(tmp_path):
    text = CountingText()
    prepare_tiny(tmp_path, TinyClips(count=12, bad=()), text=text, clips_per_shard=12)
    assert sorted(sum(text.asked, [])) == sorted([*tiny_clips.CAPTIONS, ""])  # and null_text


def test_embeddings_are_stored_as_bfloat16_at_their_true_length(tmp_path):
    class Embeddings:
        def encode(self, captions):
            return [np.full((len(c) + 1, 3), 0.1, np.float32) for c in captions]

    prepare_tiny(tmp_path, text=Embeddings())
    dataset = open_dataset(tmp_path)
    assert dataset.null_text.shape == (1, 3) and dataset.null_text.dtype == jnp.bfloat16
    assert [dataset[i]["text"].shape for i in (0, 1)] == [(17, 3), (1, 3)]


def test_report_counts_up_to_the_total_and_counts_what_is_set_aside(tmp_path):
    told = []
    prepare_tiny(tmp_path, report=lambda *numbers: told.append(numbers))
    assert told[0] == (0, COUNT, 0) and told[-1] == (COUNT, COUNT, len(BAD))
    assert told == sorted(told)


def test_no_transfer_to_or_from_the_device_is_accidental(tmp_path):
    with jax.transfer_guard("disallow"):
        prepare_tiny(tmp_path)


# --- the same bytes --------------------------------------------------------------------


def test_bytes_do_not_depend_on_the_run_on_threads_or_on_the_batch(whole, tmp_path):
    prepare_tiny(tmp_path, workers=5, batch_size=6)
    assert digest(tmp_path) == digest(whole)


def test_three_processes_make_what_one_makes_and_the_last_writes_the_manifest(whole, tmp_path):
    manifests = [prepare_tiny(tmp_path, share=Share(index, 3)) for index in (2, 0, 1)]
    assert manifests[:2] == [None, None] and manifests[2]["clips"] == len(GOOD)
    assert digest(tmp_path) == digest(whole)


def test_a_process_reads_no_note_while_others_are_at_work(tmp_path, monkeypatch):
    real, read = shards.whole_shard, []
    monkeypatch.setattr(shards, "whole_shard", lambda path: read.append(path) or real(path))
    assert prepare_tiny(tmp_path, share=Share(1, 2)) is None and not read
    # Started again, those of its own share alone; and the last one those of all, for the manifest.
    assert prepare_tiny(tmp_path, share=Share(1, 2)) is None
    assert len(read) == 2
    assert prepare_tiny(tmp_path, share=Share(0, 2)) is not None
    assert len(read) == 2 + 5


def job_env():
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def run_until_killed(out, reports, rng):
    """A real process, killed by SIGKILL after so many reports; its exit status."""
    job = subprocess.Popen(
        [sys.executable, tiny_clips.__file__, str(out)],
        stdout=subprocess.PIPE,
        text=True,
        env=job_env(),
    )
    with job:
        for _ in range(reports):
            assert job.stdout.readline(), "the job ended before its time"
        # Some thousand loops of nothing, so as not to meet the same instruction each time.
        for _ in range(rng.randrange(200_000)):
            pass
        job.kill()
    return job.returncode


def check_killed_and_resumed(whole, out, moments, seed):
    rng = random.Random(seed)
    killed = 0
    for reports in moments:
        killed += run_until_killed(out, reports, rng) == -9
        assert not (out / "manifest.json").exists() or killed < len(moments)
    assert killed >= 1
    prepare_tiny(out)
    assert digest(out) == digest(whole)


def test_killed_at_three_moments_and_run_again_gives_the_bytes_of_an_undisturbed_run(
    whole, tmp_path
):
    # Reports are of batches: 1 is the start, shards have two batches each.
    check_killed_and_resumed(whole, tmp_path / "clips", moments=(2, 3, 4), seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random_moments_and_run_again_gives_the_bytes_of_an_undisturbed_run(
    whole, tmp_path, seed
):
    moments = [random.Random(seed).randint(1, 4) for _ in range(3)]
    check_killed_and_resumed(whole, tmp_path / "clips", moments, seed)


def test_a_rerun_fills_in_what_is_missing_and_touches_nothing_else(whole, tmp_path):
    out = tmp_path / "clips"
    shutil.copytree(whole, out)
    names = [shards.shard_name(index, 5) for index in range(5)]
    (out / names[0]).unlink()  # the clips are gone
    (out / names[2]).with_suffix(".json").unlink()  # killed between clips and note
    (out / names[4]).write_bytes((out / names[4]).read_bytes()[:1000])  # cut short
    (out / "manifest.json").unlink()
    before = (out / names[1]).stat().st_mtime_ns
    source = TinyClips()
    prepare_tiny(out, source)
    assert sorted(source.asked) == [*range(0, 6), *range(12, 18), *range(24, 29)]
    assert (out / names[1]).stat().st_mtime_ns == before
    assert digest(out) == digest(whole)


@pytest.mark.parametrize("name", ["manifest.json", "null_text.msgpack", "settings.json"])
def test_a_rerun_writes_a_lost_file_again_without_reading_a_clip(whole, tmp_path, name):
    out, source = tmp_path / "clips", TinyClips()
    shutil.copytree(whole, out)
    (out / name).unlink()
    prepare_tiny(out, source)
    assert source.asked == [] and digest(out) == digest(whole)


def test_a_rerun_of_a_finished_folder_reads_no_clip_and_reports_it_done_at_once(whole):
    before, source, told = digest(whole), TinyClips(), []
    manifest = prepare_tiny(whole, source, report=lambda *numbers: told.append(numbers))
    assert source.asked == [] and told == [(COUNT, COUNT, len(BAD))]
    assert manifest["clips"] == len(GOOD) and digest(whole) == before


def test_a_rerun_removes_temporary_files_of_its_own_shards_alone(tmp_path):
    stale = [".clips-00001-of-00005.json.0123abcd.part", ".manifest.json.p1.0123abcd.part"]
    of_others = [
        ".clips-00002-of-00005.array_record.0123abcd.part",  # process 0's, of two
        ".null_text.msgpack.p0.0123abcd.part",
        "notes.part",
        ".clips-mine.0123abcd.part",
    ]
    for name in stale + of_others:
        (tmp_path / name).write_text("left by a killed run")
    prepare_tiny(tmp_path, share=Share(1, 2))
    left = {path.name for path in tmp_path.iterdir()}
    assert not left & set(stale) and set(of_others) <= left


# --- what cannot go on -----------------------------------------------------------------


@contextlib.contextmanager
def files_limited_to(size):
    """As on a full disk, the system takes no more than so many bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [100, 30_000, 70_000])
def test_a_disk_that_takes_no_more_is_one_line_and_leaves_nothing_half_written(
    whole, tmp_path, size
):
    with files_limited_to(size), pytest.raises(UserError, match="cannot write .*clips-00000") as e:
        prepare_tiny(tmp_path)
    assert "\n" not in str(e.value)
    assert list(tmp_path.iterdir()) == []
    prepare_tiny(tmp_path)
    assert digest(tmp_path) == digest(whole)


# In a mount namespace of its own, where a user may mount a small disk.
FULL_DISK = """
mount -t tmpfs -o size=300k none {out} || exit 99
{job}; echo "status $?"
ls -A {out}
mount -o remount,size=20m {out}
{job} && cd {out} && sha256sum *
"""


def test_a_full_disk_is_named_and_once_there_is_room_a_rerun_finishes(whole, tmp_path):
    job = f"{sys.executable} {tiny_clips.__file__} {tmp_path} 2>&1 | tail -n 1"
    script = "set -o pipefail" + FULL_DISK.format(out=tmp_path, job=job)
    ran = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script], capture_output=True, text=True, env=job_env()
    )
    if ran.returncode == 99 or "unshare failed" in ran.stderr:
        pytest.skip(f"this system lets no user mount a disk: {ran.stderr.strip()}")
    error, status, *rest = ran.stdout.splitlines()
    assert re.fullmatch(r"UserError: cannot write .*/clips-0000\d-.*: No space left .*", error)
    assert status == "status 1"
    sums = [line.split() for line in rest if len(line.split()) == 2 and len(line) > 64]
    assert {name: sha for sha, name in sums} == digest(whole)
    listed = [line for line in rest if line.startswith((".", "clips", "settings"))]
    assert not [name for name in listed if name.endswith(".part")], listed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"code": MotionCode(0.2)}, "sigma is 0.15 in it and 0.2 now"),
        ({"clips_per_shard": 7}, "clips_per_shard is 6 in it and 7 now"),
        (
            {"settings": {"config": {"clip": {"frames": 8}, "motion": {"flow": "dis"}}}},
            "config.clip.frames is 4 in it and 8 now",
        ),
        ({"source": TinyClips(count=30)}, "source.clips is 29 in it and 30 now"),
    ],
    ids=["sigma", "clips_per_shard", "config", "source"],
)
def test_other_settings_in_the_same_folder_are_refused_by_their_first_key(
    whole, changes, message
):
    before = digest(whole)
    with pytest.raises(UserError, match=message):
        prepare_tiny(whole, **changes)
    assert digest(whole) == before


def test_a_run_that_stops_at_its_first_clip_binds_the_folder_to_no_settings(tmp_path, whole):
    def no_flow(clip):
        raise UserError("its flow is not known")

    with pytest.raises(UserError, match="its flow is not known"):
        prepare_tiny(tmp_path, flow=no_flow, settings={"config": "wrong"})
    assert list(tmp_path.iterdir()) == []
    prepare_tiny(tmp_path)
    assert digest(tmp_path) == digest(whole)


def test_no_usable_clip_is_an_error_with_the_first_reason_and_a_later_run_tries_again(tmp_path):
    with pytest.raises(UserError, match="all 8 were set aside, the first, x.mp4, because: no vid"):
        prepare_tiny(tmp_path, TinyClips(count=7, bad=range(7)))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="the source has no clips"):
        prepare_tiny(tmp_path, TinyClips(count=0, listed_bad=()))
    assert prepare_tiny(tmp_path, TinyClips(count=7))["clips"] == 6


def test_a_shard_whose_clips_are_all_bad_is_kept_empty(tmp_path):
    prepare_tiny(tmp_path, TinyClips(count=12, bad=range(6)))
    dataset = open_dataset(tmp_path)
    assert [dataset[i]["source_id"] for i in (0, 5)] == ["tiny:6", "tiny:11"]


def test_a_flow_that_is_bad_or_not_finite_sets_its_clip_aside(tmp_path):
    def flow(clip):
        if clip.source_id == "tiny:1":
            raise BadClip(clip.source_id, "no flow")
        return clip.flow * (np.nan if clip.source_id == "tiny:2" else 1)

    manifest = prepare_tiny(tmp_path, TinyClips(count=6, bad=(), listed_bad=()), flow=flow)
    assert manifest["set_aside"]["clips"] == [
        {"source": "tiny:1", "reason": "no flow"},
        {"source": "tiny:2", "reason": "its flow is not finite"},
    ]


def test_an_error_of_ours_passes_through_and_leaves_no_temporary_file(tmp_path):
    class Broken(TinyClips):
        def __getitem__(self, index):
            if index == 8:
                raise ZeroDivisionError("a bug")
            return super().__getitem__(index)

    with pytest.raises(ZeroDivisionError, match="a bug"):
        prepare_tiny(tmp_path, Broken())
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the folder .*file"):
        prepare_tiny(tmp_path / "file")
