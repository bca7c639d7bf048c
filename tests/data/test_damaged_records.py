"""Records that cannot be read: named, or passed over so that every process sees the same."""

import errno
import itertools
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_clips import BAD, COUNT, prepare_tiny

from videojam_jax.data import loader, records
from videojam_jax.errors import MayPass, UserError

CLIPS = COUNT - len(BAD)
SHARD = "clips-00002-of-00005.array_record"
FIRST = 10  # the index of its first record


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "clips"
    prepare_tiny(out)
    return out


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "clips")


def damage(folder, *numbers):
    """A bit flips in the middle of these records of the shard, each of about 7,900 bytes."""
    data = bytearray((folder / SHARD).read_bytes())
    for number in numbers:
        data[64 + 7900 * number + 3950] ^= 1
    (folder / SHARD).write_bytes(data)


def sources(dataset):
    return [dataset[index]["source_id"] for index in range(len(dataset))]


def take(dataset, count, **changes):
    given = {"seed": 3, "batch_size": 8, "text_length": 32, **changes}
    loaded = loader.batches(dataset, **given)
    taken = list(itertools.islice(loaded, count))
    loaded.close()
    return taken


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_record_is_named_with_its_number_and_what_helps(folder):
    damage(folder, 3)
    with pytest.raises(UserError) as caught:
        take(loader.open_dataset(folder), 4)
    said = str(caught.value)
    assert said.startswith(f"{folder / SHARD} cannot be read at its record 3 ("), said
    assert "delete it and run the same 'videojam prepare' again" in said
    assert said.endswith("or raise config.train.skip_records (0) to train without it")


def test_the_next_record_stands_for_a_damaged_one_which_is_told_and_counted_once(whole, folder):
    damage(folder, 1, 2, 5)
    told = []
    dataset = loader.open_dataset(folder, 3, told.append)
    expected = sources(loader.open_dataset(whole))
    expected[FIRST + 1 : FIRST + 3] = [expected[FIRST + 3]] * 2
    expected[FIRST + 5] = expected[FIRST + 6]  # of the next shard
    assert [sources(dataset), sources(dataset)] == [expected, expected]
    assert len(dataset.skipped) == len(told) == 3
    for number, (index, line) in enumerate(zip((1, 2, 5), told, strict=True), start=1):
        assert line.startswith(
            f"record {number} of at most 3 passed over: {folder / SHARD} cannot be read at its "
            f"record {index} ("
        )


def test_the_first_record_of_all_stands_for_the_last_one(whole, folder, monkeypatch):
    real = loader.Shards.__getitem__
    cut = lambda data, index: real(data, index)[: None if index < CLIPS - 1 else 9]  # noqa: E731
    monkeypatch.setattr(loader.Shards, "__getitem__", cut)
    assert sources(loader.open_dataset(folder, 1))[-1] == sources(loader.open_dataset(whole, 1))[0]


def test_one_more_than_may_be_passed_over_ends_the_run_and_names_it(folder):
    damage(folder, 1, 4)
    with pytest.raises(UserError, match=rf"{SHARD} .* record [14] .*skip_records \(1\)"):
        take(loader.open_dataset(folder, 1), 5)


def test_every_number_of_processes_and_a_run_that_goes_on_see_the_same(whole, folder):
    damage(folder, 0, 1, 4)
    expected = take(loader.open_dataset(folder, 3), 8)
    differ = [
        (batch["video"] != undamaged["video"]).any()
        for batch, undamaged in zip(expected, take(loader.open_dataset(whole), 8), strict=True)
    ]
    assert any(differ)
    for process in range(2):
        rows = range(process, 8, 2)
        # Each in a process of its own, which knows nothing of what another has passed over.
        for step, batch in enumerate(take(loader.open_dataset(folder, 3), 8, rows=rows)):
            same(batch, jax.tree.map(lambda array: array[list(rows)], expected[step]))
    for step in (2, 5):
        (batch,) = take(loader.open_dataset(folder, 3), 1, start_step=step, threads=4)
        same(batch, expected[step])


def wrong_shape(record):
    return {**record, "video": record["video"][1:]}


def wrong_type(record):
    return {**record, "motion": record["motion"].astype(np.float32)}


def wrong_text(record):
    return {**record, "text": np.zeros((3, 5), jnp.bfloat16)}


def long_text(record):
    return {**record, "text": np.ones(31, np.int32)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (wrong_shape, r"its video latent is \(3, 8, 8, 12\), in manifest.json \(4, 8, 8, 12\)"),
        (wrong_type, "its motion is no bfloat16 latent"),
        (wrong_text, "its text is of another kind than null_text.msgpack"),
        (long_text, "its text is longer than any in manifest.json"),
    ],
)
def test_a_record_that_does_not_fit_its_data_set_is_a_damaged_one(whole, change, said, monkeypatch):
    real = loader.Shards.__getitem__

    def changed(data, index):
        record = records.from_bytes(real(data, index))
        return records.to_bytes(change(record) if index == FIRST else record)

    monkeypatch.setattr(loader.Shards, "__getitem__", changed)
    with pytest.raises(UserError, match=rf"{SHARD} cannot be read at its record 0 \({said}\)"):
        loader.open_dataset(whole)[FIRST]
    assert loader.open_dataset(whole, 1)[FIRST]["source_id"] == sources(
        loader.open_dataset(whole, 1)
    )[FIRST + 1]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ECONNRESET])
@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_what_the_disk_may_give_in_a_minute_is_not_passed_over(whole, number, kind, monkeypatch):
    def fails(_, index):
        if kind is OSError:
            raise OSError(number, os.strerror(number))
        raise RuntimeError(f"read() failed: {os.strerror(number)}; reading at 0")

    monkeypatch.setattr(loader.Shards, "__getitem__", fails)
    dataset = loader.open_dataset(whole, 100)
    with pytest.raises(MayPass, match=r"clips-00000-of-\d+.array_record cannot be read at its rec"):
        dataset[0]
    assert len(dataset.skipped) == 0


def test_what_a_person_has_to_mend_of_the_system_is_no_damage(folder):
    dataset = loader.open_dataset(folder, 100)
    (folder / SHARD).unlink()
    with pytest.raises(UserError, match=rf"{SHARD} cannot be opened \(.*No such file") as caught:
        dataset[FIRST]
    assert "delete" not in str(caught.value) and len(dataset.skipped) == 0


def test_where_no_record_can_be_read_that_is_said(whole, monkeypatch):
    monkeypatch.setattr(loader.Shards, "__getitem__", lambda *_: b"")
    with pytest.raises(UserError, match="none of its records can be read"):
        loader.open_dataset(whole, CLIPS)[0]
