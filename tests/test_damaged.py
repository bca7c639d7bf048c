"""Files of ours that were damaged: one line that names the file, and what helps does help."""

import functools
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import tiny_run
from tiny_clips import digest, prepare_tiny

from videojam_jax.checkpoints.read import load_params, read_architecture
from videojam_jax.checkpoints.write import save_params
from videojam_jax.config import loading
from videojam_jax.data import loader, manifest, shards
from videojam_jax.errors import UserError
from videojam_jax.report import curves
from videojam_jax.sample import files
from videojam_jax.train import run_log
from videojam_jax.vote import folders

SEED = 20260
SHARD = "clips-00002-of-00005"


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, cut off, cut out or put in at random."""
    while True:
        found = bytearray(data)
        place, count = int(rng.integers(len(found))), int(rng.integers(1, 9))
        match rng.integers(4):
            case 0:
                for _ in range(min(count, 4)):
                    found[rng.integers(len(found))] = rng.integers(256)
            case 1:
                del found[place:]
            case 2:
                del found[place : place + count]
            case _:
                found[place:place] = rng.bytes(count)
        if found != data:
            return bytes(found)


def complaint(call) -> str:
    """The one line of a UserError; "" if there is none. Any other error fails the test."""
    try:
        call()
    except UserError as error:
        assert len(str(error).splitlines()) == 1, repr(str(error))
        return str(error)
    return ""


def fuzz(path: pathlib.Path, call, tries: int, names=None) -> int:
    """Damages a file so often and lets it be read; how often that was noticed.

    Args:
      names: what every complaint has to say; the file's name if not given.
    """
    data, rng, noticed = path.read_bytes(), np.random.default_rng(SEED), 0
    for number in range(tries):
        path.write_bytes(damaged(data, rng))
        try:
            said = complaint(call)
            assert not said or (names or path.name) in said, said
        except BaseException:
            print(f"try {number}: {path.read_bytes()[:2000]}")
            raise
        noticed += bool(said)
    path.write_bytes(data)
    return noticed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("damaged") / "clips"
    prepare_tiny(out)
    return out


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "clips")


def read_all(folder):
    dataset = loader.open_dataset(folder)
    for index in range(len(dataset)):
        dataset[index]


# --- a prepared folder ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["settings.json", "manifest.json", "null_text.msgpack"])
def test_a_file_of_a_prepared_folder_is_named_and_prepare_makes_it_anew(whole, folder, name):
    noticed = fuzz(folder / name, lambda: read_all(folder), 150)
    # Of a manifest much is told to people alone, and may be any text.
    assert noticed > {"manifest.json": 75}.get(name, 140), noticed
    (folder / name).write_bytes(b"\xff\x00{")
    said = complaint(lambda: read_all(folder))
    assert said.startswith(f"{folder / name} ") and "delete it and run" in said
    (folder / name).unlink()
    prepare_tiny(folder)
    assert digest(folder) == digest(whole)


def test_a_damaged_null_text_is_noticed_by_its_checksum_to_the_last_byte(folder):
    path = folder / "null_text.msgpack"
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        said = complaint(lambda: loader.open_dataset(folder))
        assert said.startswith(f"{path} was damaged"), (place, said)


def test_a_damaged_shard_is_named_as_it_is_read_and_prepare_makes_it_anew(whole, folder):
    path = folder / f"{SHARD}.array_record"
    assert fuzz(path, lambda: read_all(folder), 100) > 80
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8] = bytes(8)
    path.write_bytes(data)
    # In the middle of training: through the threads that read ahead.
    batches = loader.batches(loader.open_dataset(folder), seed=0, batch_size=27, text_length=32)
    said = complaint(lambda: next(batches))
    assert said.startswith(f"{path} cannot be read at its record "), said
    assert "delete it and run" in said, said
    path.unlink()
    assert SHARD in complaint(lambda: loader.open_dataset(folder))
    prepare_tiny(folder)
    assert digest(folder) == digest(whole)


def test_a_damaged_note_has_prepare_make_its_shard_anew(whole, folder):
    path = folder / f"{SHARD}.json"
    note = shards.whole_shard(path.with_suffix(".array_record"))
    fuzz(path, lambda: read_all(folder), 150, names=SHARD)
    parts = [{name: value for name, value in note.items() if name != key} for key in note]
    for wrong in (b"\xff", b"[]", *(json.dumps(part).encode() for part in parts)):
        path.write_bytes(wrong)
        assert list(manifest.unfinished(folder)) == [2]
        read_all(folder)  # the manifest says what is in the shard
    (folder / "manifest.json").unlink()
    assert f"1 of 5 shards are missing or not whole ({SHARD}.array_record)" in (
        complaint(lambda: loader.open_dataset(folder))
    )
    prepare_tiny(folder)
    assert digest(folder) == digest(whole)


# --- a run ------------------------------------------------------------------------------


def test_a_runs_config_is_named_with_what_writes_it_anew(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(loading.to_json(loading.load(f"{tiny_run.CONFIG}:base")))
    noticed = fuzz(path, lambda: loading.load_resolved(path), 400, names=str(path))
    assert noticed > 300, noticed
    for wrong in (b"\xff{}", b"[]", b"{", b'{"seed": "x"}', b'{"source": {"name": [1]}}'):
        path.write_bytes(wrong)
        said = complaint(lambda: loading.load_resolved(path))
        assert said.startswith(f"{path}: ") and said.endswith(loading.ANEW), said


def test_a_word_of_the_command_line_is_not_told_as_damage_of_the_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(loading.to_json(loading.load(f"{tiny_run.CONFIG}:base")))
    said = complaint(lambda: loading.load_resolved(path, {"sample.stepz": "3"}))
    assert said == "unknown key config.sample.stepz: did you mean config.sample.steps?"


def test_metrics_lose_the_damaged_lines_alone_as_a_run_goes_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": n, "loss": 1 / n}).encode() + b"\n" for n in range(1, 31)]
    path.write_bytes(b"".join(lines))
    fuzz(path, lambda: curves.read_metrics(path), 200)
    fuzz(path, lambda: run_log._keep_until(path, 20), 200)
    wrong = [b"\xff\n", b"\n", b'"step"\n', b"[1]\n", b'{"step": null}\n', lines[12][:9] + b"\n"]
    path.write_bytes(b"".join([*lines[:7], *wrong, *lines[7:]]))
    assert f"{path}, line 8: " in complaint(lambda: curves.read_metrics(path))
    run_log._keep_until(path, 20)
    assert path.read_bytes() == b"".join(lines[:20])


def test_an_index_of_samples_is_named(tmp_path):
    names = ["000_a.mp4", "000_a.gif"]
    for name in (*names, "contact_sheet.png"):
        (tmp_path / name).write_bytes(b"")
    index = {"step": 3, "seed": 0, "fps": 8.0, "contact_sheets": ["contact_sheet.png"],
             "samples": [{"prompt": "a", "files": names}]}  # fmt: skip
    path = tmp_path / files.INDEX
    path.write_text(json.dumps(index, indent=1))
    fuzz(path, lambda: files._check_replaceable(tmp_path, tmp_path), 200, names=str(tmp_path))
    fuzz(path, lambda: folders._sampled(tmp_path), 200)
    path.write_bytes(b"\xff")
    said = complaint(lambda: files._check_replaceable(tmp_path, tmp_path))
    assert said.startswith(f"{path} is not what 'videojam sample' wrote, or was damaged; "), said


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    return {"a": {"kernel": rng.normal(size=(8, 8)).astype(np.float32)}, "b": np.ones(3)}


def test_a_checkpoint_is_named_whatever_of_it_was_damaged(tmp_path, params):
    save_params(tmp_path, params, {"model": {"width": 8}}, {"shift": [0.0]})
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    step = tmp_path / "checkpoints" / "0"

    def read():
        assert isinstance(read_architecture(tmp_path), dict)
        load_params(tmp_path, abstract)

    read()
    noticed = {
        str(path.relative_to(step)): fuzz(path, read, 8, names=str(step))
        for path in sorted(step.rglob("*"))
        if path.is_file() and path.stat().st_size
    }
    print(noticed)
    assert sum(noticed.values()) > 20
    (step / "architecture" / "metadata").write_bytes(b"\xff")
    said = complaint(functools.partial(read_architecture, tmp_path))
    assert "delete this folder; it is the only one there" in said, said
