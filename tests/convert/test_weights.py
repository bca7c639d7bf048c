"""Weights of frozen models, from public files and from checkpoints: the same on any devices."""

import functools
import json
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import tiny_run
from jax.sharding import SingleDeviceSharding
from safetensors.numpy import save_file

from videojam_jax.checkpoints.names import flat
from videojam_jax.checkpoints.read import read_architecture, saved_shapes
from videojam_jax.checkpoints.write import save_params
from videojam_jax.convert.job import convert
from videojam_jax.convert.kinds import KINDS, abstract
from videojam_jax.convert.layouts import t5
from videojam_jax.convert.read import public_tensors
from videojam_jax.convert.weights import drawn, kind_of, load_weights, random_weights
from videojam_jax.errors import UserError
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.rules import tree_shardings

CONFIG = {
    "model_type": "umt5", "vocab_size": 24, "d_model": 16, "d_ff": 24, "num_heads": 8, "d_kv": 2,
    "num_layers": 2, "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A public folder, and the checkpoint made of it."""
    row, options = KINDS["t5"], t5.options(CONFIG)
    module = row.module(options, np.float32)
    rng = np.random.default_rng(0)
    shapes = nn.unbox(abstract(row, module))
    params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
    place = tmp_path_factory.mktemp("weights")
    (place / "public").mkdir()
    tensors = public_tensors(params, row.rows(module, options))
    save_file(
        {name: np.ascontiguousarray(x) for name, x in tensors.items()},
        place / "public" / "model.safetensors",
    )
    (place / "public" / "config.json").write_text(json.dumps(CONFIG))
    convert(place / "public", place / "ours")
    return {"public": place / "public", "ours": place / "ours", "params": params}


def one():
    return SingleDeviceSharding(jax.devices()[3])


def over_four():
    mesh = make_mesh({"data": 1, "fsdp": 4}, jax.devices()[:4])
    return functools.partial(tree_shardings, mesh)


@pytest.mark.parametrize("place", ["public", "ours"])
@pytest.mark.parametrize("layout", [one, over_four])
def test_weights_lie_where_they_should_and_are_what_the_file_says(place, layout, places):
    found = load_weights("t5", places[place], layout())
    given, wanted = flat(found.params), flat(places["params"])
    assert given.keys() == wanted.keys()
    for name, value in wanted.items():
        assert given[name].dtype == jnp.float32
        np.testing.assert_array_equal(np.asarray(given[name]), value, err_msg=name)
    if layout is one:
        assert all(x.devices() == {jax.devices()[3]} for x in given.values())
    else:
        # A quarter of every matrix, and so of nearly all there is, on each device.
        table = given["blocks/up/kernel"]
        assert table.addressable_shards[0].data.size * 4 == table.size
        held = sum(x.addressable_shards[0].data.size for x in given.values())
        assert held < 0.3 * sum(x.size for x in given.values())
    assert found.options == t5.options(CONFIG)
    assert found.folder == places[place]
    assert found.module.width == 16


@pytest.mark.parametrize("place", ["public", "ours"])
def test_matrices_take_the_dtype_that_is_asked_for_and_vectors_stay(place, places):
    found = load_weights(
        "t5", places[place], over_four(), dtype=jnp.bfloat16, param_dtype=jnp.bfloat16
    )
    assert found.module.dtype == jnp.bfloat16
    given = flat(found.params)
    for name, value in flat(places["params"]).items():
        kept = ml_dtypes.bfloat16 if value.ndim > 1 else np.float32
        assert given[name].dtype == kept, name
        np.testing.assert_array_equal(np.asarray(given[name]), value.astype(kept), err_msg=name)


def test_random_weights_have_the_form_of_read_ones(places):
    found = random_weights("t5", t5.options(CONFIG), one())
    shapes = {name: x.shape for name, x in flat(found.params).items()}
    assert shapes == {name: x.shape for name, x in flat(places["params"]).items()}
    assert all(x.devices() == {jax.devices()[3]} for x in flat(found.params).values())


def test_drawn_weights_keep_what_they_are_given_about_as_large():
    shapes = {"kernel": (3, 3, 64, 128), "scale": (64,), "bias": (64,), "var": (64,), "mean": (64,)}
    found = drawn({"a": {k: jax.ShapeDtypeStruct(v, np.float32) for k, v in shapes.items()}}, one())
    rng = np.random.default_rng(0)
    given = rng.normal(size=(200, 3 * 3 * 64)).astype(np.float32)
    result = given @ np.asarray(found["a"]["kernel"]).reshape(-1, 128)
    assert 0.9 < result.std() < 1.1
    for name, value in {"scale": 1, "var": 1, "bias": 0, "mean": 0}.items():
        assert (np.asarray(found["a"][name]) == value).all()


def test_of_what_kind_weights_are_is_told_of_either(places, tmp_path):
    for place in ("public", "ours"):
        assert kind_of(places[place], ("t5", "clip")) == "t5"
        with pytest.raises(UserError, match="weights of t5, where clip or raft is wanted"):
            kind_of(places[place], ("clip", "raft"))
    save_params(tmp_path / "run", {"a": np.zeros(2)}, {"model": {"motion": True}})
    with pytest.raises(UserError, match="a run of `videojam train`, where t5 is wanted"):
        kind_of(tmp_path / "run", ("t5",))


def test_weights_of_another_kind_are_refused_by_their_path(places, tmp_path):
    with pytest.raises(UserError, match=f"{places['ours']}: weights of t5, where weights of clip"):
        load_weights("clip", places["ours"], one())
    with pytest.raises(UserError, match=f"{places['public']}: .*model_type is 'umt5'"):
        load_weights("clip", places["public"], one())
    with pytest.raises(UserError, match=f"{tmp_path / 'nothing'}: no such"):
        load_weights("t5", tmp_path / "nothing", one())
    save_params(tmp_path / "run", {"a": np.zeros(2)}, {"model": {"motion": True}})
    with pytest.raises(UserError, match="a run of `videojam train`, where weights of t5"):
        load_weights("t5", tmp_path / "run", one())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda x: {**x, "norm": {"scale": x["norm"]["scale"][:5]}},
         r"1 of another shape: norm/scale is \[5\], the model wants \[16\]"),
        (lambda x: {k: v for k, v in x.items() if k != "norm"}, "1 missing: norm/scale"),
        (lambda x: {**x, "odd": x["norm"]}, "1 unknown: odd/scale"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_its_own_options_is_refused(damage, said, places, tmp_path):
    architecture = read_architecture(places["ours"])
    save_params(tmp_path / "bad", damage(places["params"]), architecture)
    with pytest.raises(UserError, match=f"{tmp_path}/bad.*not the parameters.*; {said}$"):
        load_weights("t5", tmp_path / "bad", one())


# --- memory ---

# About 350 MB of float32, in layers whose stacks are a tenth of it each.
LARGE = CONFIG | {"vocab_size": 8000, "d_model": 768, "d_ff": 2048, "num_layers": 12, "d_kv": 96}
MEASURE = """
import sys, threading, time
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import SingleDeviceSharding
from videojam_jax.checkpoints.read import load_params
from videojam_jax.checkpoints.write import save_params
from videojam_jax.convert.job import convert
from videojam_jax.convert.weights import load_weights

def anonymous():
    # Pages of the file itself count in the resident set, but the system takes them back at will.
    fields = dict(line.split(":") for line in open("/proc/self/status"))
    return int(fields["RssAnon"].split()[0]) * 1024

def watch():
    while not done.is_set():
        seen.append(anonymous())
        time.sleep(0.001)

place, what = Path(sys.argv[1]), sys.argv[2]
# What the libraries take for themselves.
save_params(place / f"first_{what}", {"a": np.zeros((3, 3), jnp.bfloat16)}, {})
device = SingleDeviceSharding(jax.devices()[0])
wanted = {"a": jax.ShapeDtypeStruct((3, 3), jnp.bfloat16, sharding=device)}
load_params(place / f"first_{what}", wanted)
before, seen, done = anonymous(), [], threading.Event()
thread = threading.Thread(target=watch)
thread.start()
if what == "convert":
    convert(place / "public", place / "half", dtype="bfloat16")
else:
    found = load_weights("t5", place / "public", device, param_dtype=jnp.bfloat16)
    jax.block_until_ready(found.params)
done.set()
thread.join()
print(max(seen) - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["safetensors", "torch"])
def test_a_large_float32_file_never_lies_in_memory_whole(form, tmp_path, record_property):
    row, options = KINDS["t5"], t5.options(LARGE)
    module = row.module(options, np.float32)
    rng = np.random.default_rng(0)
    shapes = nn.unbox(abstract(row, module))
    params = jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), shapes)
    tensors = public_tensors(params, row.rows(module, options))
    tensors = {name: np.ascontiguousarray(x) for name, x in tensors.items()}
    size = sum(x.nbytes for x in tensors.values())
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "config.json").write_text(json.dumps(LARGE))
    if form == "torch":
        torch = pytest.importorskip("torch")
        saved = {name: torch.from_numpy(x) for name, x in tensors.items()}
        torch.save(saved, tmp_path / "public" / "pytorch_model.bin")
    else:
        save_file(tensors, tmp_path / "public" / "model.safetensors")
    del params, tensors

    peaks = {}
    for what in ("convert", "load"):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, tmp_path, what],
            env=tiny_run.environment(), capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks[what] = int(done.stdout.split()[-1]) / size
        record_property(what, peaks[what])
    print(f"{form}: {size / 1e6:.0f} MB of float32; beside them in memory {peaks}")
    # A few arrays at a time; the weights themselves, half of the file, and an array or two.
    assert peaks["convert"] < 0.6
    assert 0.5 <= peaks["load"] < 0.9
    converted = flat(saved_shapes(tmp_path / "half" / "checkpoints" / "0" / "ema_params"))
    assert {str(x.dtype) for x in converted.values()} == {"bfloat16"}
