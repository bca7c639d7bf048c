"""The loader: batches as a function of (seed, step), on any number of processes."""

import io
import itertools
import os
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_clips import BAD, COUNT, TinyClips, prepare_tiny

from videojam_jax.data import loader
from videojam_jax.errors import UserError
from videojam_jax.text import Text

CLIPS = COUNT - len(BAD)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("loader") / "clips"
    prepare_tiny(out)
    return out


@pytest.fixture(scope="module")
def dataset(folder):
    return loader.open_dataset(folder)


@pytest.fixture(scope="module")
def position_of(dataset):
    """Which record a latent is, by its bytes."""
    by_bytes = {dataset[i]["video"].tobytes(): i for i in range(len(dataset))}
    assert len(by_bytes) == len(dataset)
    return lambda latent: by_bytes[latent.tobytes()]


def take(dataset, count, **changes):
    arguments = {"seed": 0, "batch_size": 8, "text_length": 32}
    loaded = loader.batches(dataset, **{**arguments, **changes})
    taken = list(itertools.islice(loaded, count))
    loaded.close()
    return taken


def assert_equal(batch, other):
    def same(path, a, b):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))

    jax.tree_util.tree_map_with_path(same, batch, other)


def test_a_batch_stacks_records_whole(dataset, position_of):
    (batch,) = take(dataset, 1)
    assert jax.tree.map(lambda array: f"{array.dtype} {array.shape}", batch) == {
        "video": "bfloat16 (8, 4, 8, 8, 12)",
        "motion": "bfloat16 (8, 4, 8, 8, 12)",
        "text": Text("int32 (8, 32)", "bool (8, 32)"),
    }
    for row in range(8):
        record = dataset[position_of(batch["video"][row])]
        np.testing.assert_array_equal(batch["motion"][row], record["motion"])
        tokens, mask = batch["text"].row(row)
        np.testing.assert_array_equal(tokens[mask], record["text"])


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_rows_of_all_processes_together_are_the_global_batch(dataset, processes):
    whole = take(dataset, 5)
    # Every process has rows here and there of the batch, as on a TPU.
    rows = [range(p, 8, processes) for p in range(processes)]
    parts = [take(dataset, 5, rows=mine) for mine in rows]
    for step, batch in enumerate(whole):
        for mine, part in zip(rows, parts, strict=True):
            assert_equal(part[step], jax.tree.map(lambda array: array[list(mine)], batch))


@pytest.mark.parametrize("step", [1, 4, 11])
def test_starting_at_a_step_gives_what_a_run_from_zero_gives_there(dataset, step):
    assert_equal(take(dataset, 1, start_step=step)[0], take(dataset, step + 1)[step])


def test_threads_and_prefetching_do_not_change_the_order(dataset):
    slow = take(dataset, 6, threads=1, prefetch=1)
    for one, other in zip(slow, take(dataset, 6, threads=5, prefetch=9), strict=True):
        assert_equal(one, other)


def test_every_epoch_has_every_clip_once_in_an_order_of_its_own(dataset, position_of):
    latents = [row for batch in take(dataset, 3 * CLIPS, batch_size=1) for row in batch["video"]]
    epochs = np.array([position_of(latent) for latent in latents]).reshape(3, CLIPS)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(CLIPS), (3, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_another_seed_gives_another_order(dataset):
    one, other = take(dataset, 1), take(dataset, 1, seed=1)
    assert (one[0]["video"] != other[0]["video"]).any()


def test_a_batch_may_be_larger_than_the_data_set(dataset, position_of):
    (batch,) = take(dataset, 1, batch_size=2 * CLIPS)
    found = [position_of(latent) for latent in batch["video"]]
    assert sorted(found) == sorted([*range(CLIPS)] * 2)


def test_without_motion_there_is_no_motion_key_and_the_order_is_the_same(dataset):
    (batch,), (whole,) = take(dataset, 1, motion=False), take(dataset, 1)
    del whole["motion"]
    assert_equal(batch, whole)


def test_the_data_set_knows_its_shapes_and_the_empty_caption(dataset):
    assert dataset.latent_shape == (4, 8, 8, 12)
    assert dataset.manifest["shapes"]["video"] == [4, 16, 16, 3]
    np.testing.assert_array_equal(dataset.null_text, [1])
    assert dataset.null_text.dtype == np.int32


def test_embeddings_are_padded_as_bfloat16(tmp_path):
    class Embeddings:
        def encode(self, captions):
            return [np.full((len(caption) + 1, 3), 0.1, np.float32) for caption in captions]

    prepare_tiny(tmp_path, TinyClips(count=6), text=Embeddings())
    (batch,) = take(loader.open_dataset(tmp_path), 1)
    tokens = batch["text"].tokens
    assert tokens.shape == (8, 32, 3) and tokens.dtype == jnp.bfloat16


def test_a_text_longer_than_the_batch_has_room_for_is_named_before_the_first_batch(dataset):
    with pytest.raises(UserError, match="holds a text of 29 tokens.* to have 20"):
        loader.batches(dataset, seed=0, batch_size=2, text_length=20)


# --- folders that cannot be opened -----------------------------------------------------


def test_a_missing_or_empty_folder_says_to_prepare_first(tmp_path):
    with pytest.raises(UserError, match="no such folder .* run 'videojam prepare' first"):
        loader.open_dataset(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no prepared clips; run 'videojam prepare' first"):
        loader.open_dataset(tmp_path)


def test_an_incomplete_folder_names_the_shards_to_be_prepared_again(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "clips")
    (tmp_path / "clips" / "clips-00002-of-00005.array_record").unlink()
    with pytest.raises(UserError, match=r"1 of 5 shards .*\(clips-00002-of-00005.array_record\)"):
        loader.open_dataset(tmp_path / "clips")


def test_a_shard_that_was_cut_short_is_named_when_it_is_read(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "clips")
    shard = tmp_path / "clips" / "clips-00002-of-00005.array_record"
    # To a length at which ArrayRecord gives empty records.
    shard.write_bytes(shard.read_bytes()[:65536])
    dataset = loader.open_dataset(tmp_path / "clips")
    with pytest.raises(UserError, match=r"00002-of-00005.array_record .*it has 65536 bytes, in"):
        list(map(dataset.__getitem__, range(len(dataset))))


def test_opening_asks_the_system_as_often_of_few_shards_as_of_many(folder, tmp_path, monkeypatch):
    prepare_tiny(tmp_path, clips_per_shard=1)

    def asked(folder):
        with monkeypatch.context() as patched:
            counted = []
            for name in ("stat", "open", "listdir", "scandir"):
                real = getattr(os, name)
                patched.setattr(
                    os, name, lambda *a, real=real, **k: counted.append(a) or real(*a, **k)
                )
            real_open = io.open
            opened = lambda *a, **k: counted.append(a) or real_open(*a, **k)  # noqa: E731
            patched.setattr(io, "open", opened)
            dataset = loader.open_dataset(folder)
        return len(counted), len(dataset.manifest["shards"])

    (few, five), (many, twenty_nine) = asked(folder), asked(tmp_path)
    assert (five, twenty_nine) == (5, COUNT)
    assert few == many <= 10, (few, many)


@pytest.mark.parametrize("name", ["manifest.json", "null_text.msgpack"])
def test_a_folder_without_its_last_files_is_not_finished(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / "clips")
    (tmp_path / "clips" / name).unlink()
    with pytest.raises(UserError, match=f"{name}.*run 'videojam prepare' again"):
        loader.open_dataset(tmp_path / "clips")


def test_a_manifest_that_is_no_json_is_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "clips")
    (tmp_path / "clips" / "manifest.json").write_text("not json")
    with pytest.raises(UserError, match="manifest.json is not a file that 'videojam"):
        loader.open_dataset(tmp_path / "clips")


# --- many shards ------------------------------------------------------------------------


def test_of_many_shards_only_so_many_are_open_at_a_time(folder, dataset):
    listed = dataset.manifest["shards"]
    files = [(folder / shard["file"], shard["clips"], shard["bytes"]) for shard in listed]
    assert len(files) >= 5
    shards = loader.Shards(files, most_open=2)

    def open_files():
        found = (os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                 if os.path.exists(f"/proc/self/fd/{fd}"))  # fmt: skip
        return [name for name in found if name.startswith(str(folder))]

    before = len(open_files())
    for index in [*range(len(dataset)), *reversed(range(len(dataset)))]:
        assert shards[index] == dataset.data[index]
        assert len(open_files()) - max(before, len(files)) <= 2
    assert shards.place(0) == (0, 0)
    assert shards.place(files[0][1]) == (1, 0)


@pytest.mark.parametrize(
    ("limits", "files", "kept", "raised"),
    [
        ((1024, 1_048_576), 5860, 5860, 5860 + 256),
        ((1024, 4096), 5860, 4096 - 256, 4096),
        ((1024, 4096), 100, 100, None),
        ((256, 256), 5860, 1, None),
        ((resource.RLIM_INFINITY,) * 2, 5860, 5860, None),
    ],
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_may(
    limits, files, kept, raised, monkeypatch
):
    now = list(limits)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: tuple(now))

    def set_limit(kind, wanted):
        now[:] = wanted

    monkeypatch.setattr(resource, "setrlimit", set_limit)
    assert loader.may_open(files) == kept
    assert tuple(now) == (raised or limits[0], limits[1])
