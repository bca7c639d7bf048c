"""Files of weights, whole and not, without torch: each is opened, or refused in one line."""

import json
import os
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from videojam_jax.convert.tensors import open_tensors
from videojam_jax.errors import UserError

DTYPES = (
    "float64", "float32", "float16", ml_dtypes.bfloat16,
    "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool",
)  # fmt: skip


# --- a state dict as torch pickles it, spelled out: torch itself writes in the oracle test ---


def text(word):
    return b"X" + struct.pack("<I", len(word.encode())) + word.encode()


def whole(number):
    return b"J" + struct.pack("<i", number)


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def numbers(values):
    return b"(" + b"".join(map(whole, values)) + b"t"


def tensor(key, size, shape, stride, offset=0, storage=named("torch", "FloatStorage")):
    place = b"(" + text("storage") + storage + text(key) + text("cpu") + whole(size) + b"tQ"
    return (
        named("torch._utils", "_rebuild_tensor_v2")
        + b"(" + place + whole(offset) + numbers(shape) + numbers(stride) + b"\x89" + b"}" + b"tR"
    )  # fmt: skip


def dictionary(**values):
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def pickled(value):
    return b"\x80\x02" + value + b"."


def zipped(path, state, **storages):
    """As torch writes since 1.6."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", state)
        archive.writestr("archive/byteorder", "little")
        for key, values in storages.items():
            archive.writestr(f"archive/data/{key}", np.asarray(values, "<f4").tobytes())
    return path


def legacy(path, state, **storages):
    """As torch wrote before."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    content = b"".join(pickle.dumps(part, 2) for part in head) + state
    content += pickle.dumps(list(storages), 2)
    for values in storages.values():
        content += struct.pack("<q", len(values)) + np.asarray(values, "<f4").tobytes()
    path.write_bytes(content)
    return path


FORMATS = {"zip": zipped, "legacy": legacy}
VALUES = np.arange(12, dtype=np.float32)
# Two views of one storage, the second transposed and from its middle.
STATE = dictionary(
    whole=tensor("s0", 12, (3, 4), (4, 1)), part=tensor("s0", 12, (2, 3), (1, 2), offset=6)
)
PART = VALUES[6:].reshape(3, 2).T


def refused(path):
    """What is said; always in one line that begins with the file's own path."""
    with pytest.raises(UserError) as caught:
        for value in open_tensors(path).values():
            value[...]
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message, message
    return message


# --- what is read ---


def test_every_kind_of_number_comes_out_of_safetensors_as_it_is(tmp_path):
    rng = np.random.default_rng(0)
    wanted = {str(np.dtype(d)): rng.integers(0, 2, (3, 5)).astype(d) for d in DTYPES}
    wanted |= {
        "scalar": np.array(1.5, ml_dtypes.bfloat16),
        "empty": np.zeros((0, 3), np.float32),
    }
    save_file(wanted, tmp_path / "a.safetensors")
    found = open_tensors(tmp_path / "a.safetensors")
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert (found[name].shape, found[name].dtype) == (value.shape, value.dtype), name
        for index in (..., (slice(0, 2),) * value.ndim, (slice(None),) * value.ndim):
            part = np.asarray(found[name][index])
            assert part.dtype == value.dtype
            np.testing.assert_array_equal(part, value[index], err_msg=name)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("wrapped", ["", "state_dict", "model_state_dict", "model"])
def test_a_state_dict_of_torch_is_read_alone_and_among_other_things(form, wrapped, tmp_path):
    state = STATE
    if wrapped:  # with a tensor beside it that is none of the model's
        state = dictionary(**{wrapped: STATE, "epoch": whole(3), "loss": tensor("s0", 12, (), ())})
    found = open_tensors(FORMATS[form](tmp_path / "a.pth", pickled(state), s0=VALUES))
    assert set(found) == {"whole", "part"}
    np.testing.assert_array_equal(found["whole"][...], VALUES.reshape(3, 4))
    np.testing.assert_array_equal(found["part"][...], PART)
    np.testing.assert_array_equal(found["part"][1:, 1:], PART[1:, 1:])
    assert not found["part"][...].flags.writeable


def test_a_split_file_is_read_by_its_index_and_by_its_folder(tmp_path):
    save_file({"a": VALUES}, tmp_path / "one.safetensors")
    save_file({"b": VALUES + 1, "stray": VALUES}, tmp_path / "two.safetensors")
    zipped(tmp_path / "three.bin", pickled(STATE), s0=VALUES)
    places = {"a": "one.safetensors", "b": "two.safetensors", "part": "three.bin"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    for path in (index, tmp_path):
        found = open_tensors(path)
        assert set(found) == set(places) and found.path == index
        np.testing.assert_array_equal(found["b"][2:5], VALUES[2:5] + 1)
        np.testing.assert_array_equal(found["part"][...], PART)


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["weights.safetensors", "config.json"], "weights.safetensors"),
        (["pytorch_model.bin", "model.safetensors", "optimizer.bin"], "model.safetensors"),
        (["pytorch_model.bin", "optimizer.bin"], "pytorch_model.bin"),
        (["diffusion_pytorch_model.safetensors", "x.pth"], "diffusion_pytorch_model.safetensors"),
        # A second one of half the precision, as many a public folder has.
        (["model.fp16.safetensors", "model.safetensors"], "model.safetensors"),
    ],
)
def test_of_a_folder_s_files_the_usual_name_is_read(files, chosen, tmp_path):
    for number, name in enumerate(files):
        path, one = tmp_path / name, np.array([number], np.float32)
        if path.suffix == ".safetensors":
            save_file({"x": one}, path)
        elif path.suffix == ".json":
            path.write_text("{}")
        else:
            zipped(path, pickled(dictionary(x=tensor("s0", 1, (1,), (1,)))), s0=one)
    found = open_tensors(tmp_path)
    assert found.path.name == chosen
    np.testing.assert_array_equal(found["x"][...], [files.index(chosen)])


def test_of_two_indices_the_usual_name_is_read(tmp_path):
    for name, value in (("model", 0), ("model.fp16", 1)):
        save_file({"x": np.array([value])}, tmp_path / f"{name}-1.safetensors")
        index = {"weight_map": {"x": f"{name}-1.safetensors"}}
        (tmp_path / f"{name}.safetensors.index.json").write_text(json.dumps(index))
    np.testing.assert_array_equal(open_tensors(tmp_path)["x"][...], [0])


# --- what is refused ---


def test_what_is_not_there_or_of_no_known_kind_is_refused(tmp_path):
    assert "no such file of weights" in refused(tmp_path / "nothing.safetensors")
    message = refused(tmp_path)
    assert "no weights in it" in message and ".safetensors" in message and ".pth" in message
    (tmp_path / "weights.npz").write_bytes(b"PK")
    assert ".safetensors" in refused(tmp_path / "weights.npz")
    for name in ("a.pth", "b.pth"):
        zipped(tmp_path / name, pickled(STATE), s0=VALUES)
    assert "several files of weights (a.pth, b.pth); name one of them" in refused(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not an index"),
        ("[]", "not an index"),
        ("{}", "weight_map"),
        ('{"weight_map": 3}', "weight_map"),
        ('{"weight_map": {"x": 3, "y": "z"}}', "weight_map"),
        ('{"weight_map": {"x": "away.safetensors"}}', "its part away.safetensors is missing"),
        ('{"weight_map": {"x": "there.safetensors"}}', "x is not in there.safetensors"),
    ],
)
def test_an_index_that_leads_astray_is_refused(content, said, tmp_path):
    save_file({"other": VALUES}, tmp_path / "there.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(content)
    assert said in refused(index)


def test_a_cut_or_damaged_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": VALUES, "b": VALUES}, path)
    content = path.read_bytes()
    for damaged in (content[:-3], content[:40], content[:4], b"", b"\0" * 100, b"<html>" * 30):
        path.write_bytes(damaged)
        assert "not a whole safetensors file" in refused(path)


def test_numbers_that_numpy_lacks_are_refused_by_name(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": VALUES.astype(ml_dtypes.float8_e4m3fn)}, path)
    assert "F8_E4M3" in refused(path)


@pytest.mark.parametrize("form", FORMATS)
def test_a_torch_file_cut_anywhere_is_refused(form, tmp_path):
    path = FORMATS[form](tmp_path / "a.pth", pickled(STATE), s0=VALUES)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        message = refused(path)
        if form == "zip" and length > 4:
            assert "ends too early" in message


@pytest.mark.parametrize("form", FORMATS)
def test_a_damaged_torch_file_is_read_or_refused_and_nothing_else(form, tmp_path):
    path = FORMATS[form](tmp_path / "a.pth", pickled(STATE), s0=VALUES)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            for value in open_tensors(path).values():
                np.asarray(value[...]).sum()
            read += 1
        except UserError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
    assert 0 < read < 300  # the numbers themselves may be anything


class Command:
    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("form", FORMATS)
def test_a_pickle_that_would_run_a_command_is_refused_and_runs_nothing(form, tmp_path):
    Command.marker = tmp_path / "ran"
    state = pickle.dumps({"weight": Command()}, 2)
    assert pickle.loads(state) and Command.marker.exists()  # it does where nobody looks
    Command.marker.unlink()
    message = refused(FORMATS[form](tmp_path / "a.pth", state, s0=VALUES))
    assert "system, which is no tensor" in message
    assert not Command.marker.exists()


@pytest.mark.parametrize(
    "global_",
    ["torch.nn.modules.linear Linear", "builtins eval", "torch.storage _load_from_bytes",
     "collections Counter", "numpy dtype", "torch load", "torch._utils _rebuild_tensor_v2.x"],
)  # fmt: skip
def test_whatever_is_no_tensor_is_refused_by_its_name(global_, tmp_path):
    module, name = global_.split()
    value = named(module, name) + b"(" + text("1 + 1") + b"tR"
    message = refused(zipped(tmp_path / "a.pth", pickled(dictionary(x=value)), s0=VALUES))
    assert f"it holds {module}.{name}, which is no tensor" in message


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (tensor("s0", 12, (3, 4), (-4, 1), offset=8), "strides"),
        (tensor("s0", 12, (3, 4), (4, 1), offset=-4), "strides"),
        (tensor("s0", 12, (3, -4), (4, 1)), "shape"),
        (tensor("s0", 12, (3, 4), (4,)), "shape"),
        (tensor("s0", -12, (3, 4), (4, 1)), "no tensor"),
        (tensor("s0", 12, (3, 4), (4, 1), storage=text("FloatStorage")), "no tensor"),
        (tensor("s0", 12, (3, 5), (4, 1)), "beyond its storage"),
        (tensor("s1", 12, (3, 4), (4, 1)), "missing"),
        (tensor("s0", 2**31 - 1, (3, 4), (4, 1)), "cut short"),
    ],
)
def test_a_tensor_that_reaches_out_of_its_storage_is_refused(of, said, tmp_path):
    path = zipped(tmp_path / "a.pth", pickled(dictionary(x=of)), s0=VALUES)
    assert said in refused(path)


def test_other_files_of_the_same_suffix_are_refused(tmp_path):
    path = tmp_path / "a.pth"
    for state in (b"}.", b"(lp0\n.", pickled(dictionary(epoch=whole(3)))):
        assert "no tensors in it" in refused(zipped(path, state))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README", "")
    assert "without data.pkl" in refused(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickled(STATE))
        archive.writestr("a/data/s0", VALUES.tobytes())
    assert "compressed" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickled(STATE))
        archive.writestr("a/byteorder", "big")
    assert "big-endian" in refused(path)
    path.write_bytes(pickle.dumps({"x": 1}))
    assert "not a state dict" in refused(path)
