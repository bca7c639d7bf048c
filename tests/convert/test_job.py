"""`videojam convert` in both directions, on small models that are made here."""

import functools
import json
import re
import resource
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import tiny_run
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from videojam_jax.checkpoints.average import average_as_saved
from videojam_jax.checkpoints.exported import METADATA
from videojam_jax.checkpoints.names import flat
from videojam_jax.checkpoints.read import (
    latest_whole,
    load_params,
    read_architecture,
    restore_params,
)
from videojam_jax.checkpoints.write import save_params
from videojam_jax.config import autoencoding, loading, modelling
from videojam_jax.convert.job import convert
from videojam_jax.convert.kinds import KINDS, abstract
from videojam_jax.convert.layouts import clip as clip_layout
from videojam_jax.convert.layouts import t5 as t5_layout
from videojam_jax.convert.read import public_tensors
from videojam_jax.convert.tensors import open_tensors
from videojam_jax.errors import UserError
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.parameters import abstract_params

T5 = {
    "model_type": "t5", "architectures": ["T5EncoderModel"], "vocab_size": 11, "d_model": 8,
    "d_ff": 12, "num_heads": 2, "d_kv": 5, "num_layers": 3, "feed_forward_proj": "gated-gelu",
    "relative_attention_num_buckets": 8,
}  # fmt: skip
OWN = json.dumps({"architecture": {"model": {"motion": True}}})
CLIP = {
    "model_type": "clip_text_model", "vocab_size": 11, "hidden_size": 8, "intermediate_size": 12,
    "num_attention_heads": 2, "num_hidden_layers": 2, "max_position_embeddings": 6,
}  # fmt: skip


@functools.cache
def public(kind):
    """Random tensors under the public names of a model."""
    row, config = KINDS[kind], {"t5": T5, "clip": CLIP}.get(kind)
    rng = np.random.default_rng(0)
    if kind == "raft":
        options = {"size": "small", "naming": "torchvision"}
    else:
        options = {"t5": t5_layout, "clip": clip_layout}[kind].options(config)
    module = row.module(options, np.float32)
    params = jax.tree.map(
        lambda x: rng.normal(size=x.shape).astype(np.float32), nn.unbox(abstract(row, module))
    )
    tensors = public_tensors(params, row.rows(module, options))
    return {name: np.ascontiguousarray(x) for name, x in tensors.items()}


def folder(path, tensors, config=None, **companions):
    path.mkdir()
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    if config:
        (path / "config.json").write_text(json.dumps(config))
    for name, content in companions.items():
        (path / name.replace("__", ".")).write_text(content)
    return path


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert (found[name].shape, found[name].dtype) == (value.shape, value.dtype), name
        assert found[name].tobytes() == np.ascontiguousarray(value).tobytes(), name


def contents(path):
    """The arrays of a safetensors file, or of its index."""
    return {name: np.asarray(x[...]) for name, x in open_tensors(path).items()}


def command(source, out, *arguments):
    """The exit status and what was said, through the command line."""
    return tiny_run.here("convert", source, "--out", out, *arguments)


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """A public folder, and the checkpoint that it was converted to."""
    place = tmp_path_factory.mktemp("t5")
    beside = {"spiece__model": "pieces", "tokenizer_config__json": "{}", "README__md": "of them"}
    source = folder(place / "public", public("t5"), T5, **beside)
    status, said = command(source, place / "ours")
    assert status == 0, said
    assert "tensors of t5: vocabulary 11, width 8" in said
    for name in ("checkpoints/0", "config.json", "spiece.model", "tokenizer_config.json"):
        assert f"wrote {place / 'ours' / name}\n" in said
    assert not (place / "ours" / "README.md").exists()
    return source, place / "ours"


# --- public weights ---


def test_what_came_in_goes_out_to_the_bit_with_what_belongs_to_it(t5, tmp_path):
    source, ours = t5
    out = tmp_path / "there" / "model.safetensors"
    status, said = command(ours, out)
    assert status == 0 and f"wrote {out}\n" in said, said
    assert_same(load_file(out), load_file(source / "model.safetensors"))
    with safe_open(out, "np") as file:
        assert file.metadata() == {"format": "pt"}  # without it transformers reads no file
    for name in ("config.json", "spiece.model", "tokenizer_config.json"):
        assert (out.parent / name).read_bytes() == (source / name).read_bytes()
    assert out.stat().st_mode & 0o777 == 0o644
    assert {path.name for path in out.parent.iterdir()} == {
        "model.safetensors", "config.json", "spiece.model", "tokenizer_config.json"
    }  # fmt: skip
    # And in once more: the exported folder is a public one.
    assert command(out.parent, tmp_path / "again")[0] == 0
    assert_same(_arrays(tmp_path / "again"), _arrays(ours))


def _arrays(workdir):
    return {name: np.asarray(x) for name, x in average_as_saved(workdir).arrays.items()}


def test_every_layer_lies_where_the_module_has_it(t5):
    source, ours = t5
    theirs = load_file(source / "model.safetensors")
    arrays = _arrays(ours)
    for layer in range(3):
        name = f"encoder.block.{layer}.layer.0.SelfAttention.q.weight"
        np.testing.assert_array_equal(arrays["blocks/q/kernel"][layer], theirs[name].T)
    np.testing.assert_array_equal(arrays["vocabulary"], theirs["shared.weight"])


def test_names_of_another_version_go_out_as_they_came(tmp_path):
    # transformers 5 writes a CLIP text tower without the prefix, the older ones with it.
    tensors = public("clip")
    bare = {name.removeprefix("text_model."): x for name, x in tensors.items()}
    assert not bare.keys() & tensors.keys()
    for number, wanted in enumerate((bare, tensors)):
        source = folder(tmp_path / f"public{number}", wanted, CLIP)
        convert(source, tmp_path / f"ours{number}")
        out = tmp_path / f"out{number}" / "model.safetensors"
        convert(tmp_path / f"ours{number}", out)
        assert_same(load_file(out), wanted)
    assert_same(_arrays(tmp_path / "ours0"), _arrays(tmp_path / "ours1"))


def test_tensors_that_are_no_part_of_the_model_are_told_and_left(tmp_path):
    tensors = public("clip")
    positions = np.arange(6)[None]
    beside = {"logit_scale": np.array(3.0), "text_model.embeddings.position_ids": positions}
    said = []
    source = folder(tmp_path / "public", tensors | beside, CLIP)
    convert(source, tmp_path / "ours", tell=said.append)
    assert any("2 of them are no part of it: " in line and "logit_scale" in line for line in said)
    convert(tmp_path / "ours", tmp_path / "out" / "model.safetensors")
    assert_same(load_file(tmp_path / "out" / "model.safetensors"), tensors)


def test_several_dtypes_stay_as_they_are_unless_another_is_asked_for(tmp_path):
    kinds = (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)
    tensors = public("clip")
    # One dtype for all layers of a kind of tensor, as models are trained.
    parts = sorted({name.split(".layers.")[-1][2:] for name in tensors})
    of = {part: kinds[number % 4] for number, part in enumerate(parts)}
    tensors = {n: x.astype(of[n.split(".layers.")[-1][2:]]) for n, x in tensors.items()}
    source = folder(tmp_path / "public", tensors, CLIP)
    convert(source, tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "a" / "model.safetensors")
    assert_same(load_file(tmp_path / "a" / "model.safetensors"), tensors)

    # On the way in or on the way out is the same.
    status, said = command(source, tmp_path / "half", "--dtype", "bfloat16")
    assert status == 0, said
    convert(tmp_path / "half", tmp_path / "b" / "model.safetensors")
    status, said = command(
        tmp_path / "ours", tmp_path / "c" / "model.safetensors", "--dtype", "bfloat16"
    )
    assert status == 0, said
    wanted = {name: x.astype(ml_dtypes.bfloat16) for name, x in tensors.items()}
    for place in "bc":
        assert_same(load_file(tmp_path / place / "model.safetensors"), wanted)


def test_what_is_split_is_whole_by_its_index(t5, tmp_path):
    source, ours = t5
    wanted = load_file(source / "model.safetensors")
    out = tmp_path / "model.safetensors"
    largest = max(x.nbytes for x in wanted.values())
    written = convert(ours, out, shard_bytes=largest)
    parts = [path for path in written if path.suffix == ".safetensors"]
    assert len(parts) > 3 and not out.exists()
    assert [path.name for path in parts[:2]] == [
        f"model-0000{n}-of-{len(parts):05d}.safetensors" for n in (1, 2)
    ]
    for path in parts:
        assert sum(x.nbytes for x in load_file(path).values()) <= largest
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {name: path.name for path in parts for name in load_file(path)}
    assert index["metadata"]["total_size"] == sum(x.nbytes for x in wanted.values())
    assert_same(contents(tmp_path), wanted)
    convert(tmp_path, tmp_path / "again")
    assert_same(_arrays(tmp_path / "again"), _arrays(ours))


def test_raft_is_known_by_its_tensors_alone(tmp_path):
    tensors = public("raft")
    save_file(tensors, tmp_path / "small.safetensors")
    status, said = command(tmp_path / "small.safetensors", tmp_path / "ours")
    assert status == 0 and "tensors of raft: size small, naming torchvision" in said, said
    convert(tmp_path / "ours", tmp_path / "out.safetensors")
    assert_same(load_file(tmp_path / "out.safetensors"), tensors)


# --- runs of ours ---


def random_tree(tree, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), nn.unbox(tree))


def own_round_trip(tmp_path, params, architecture, latent=None, **options):
    save_params(tmp_path / "run", params, architecture, latent)
    written = convert(tmp_path / "run", tmp_path / "file.safetensors", **options)
    assert_same(contents(written[-1]), {k.replace("/", "."): x for k, x in flat(params).items()})
    convert(written[-1], tmp_path / "again")
    assert_same(_arrays(tmp_path / "again"), flat(params))
    assert read_architecture(tmp_path / "again") == architecture
    return tmp_path / "again"


def test_a_temporal_autoencoder_comes_back_with_its_latents_scale(tmp_path):
    tiny = f"{tiny_run.ROOT}/configs/tae_small.py:tiny"
    config = loading.load(tiny, {"tae.width": "8"})
    params = random_tree(jax.eval_shape(autoencoding.init(config), jax.random.key(0)))
    latent = {"shift": [0.1 * n for n in range(16)], "scale": [1 / 3] * 16, "clips": 64}
    architecture = autoencoding.architecture(config)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    for place, options in (("one_file", {}), ("split", {"shard_bytes": 20_000})):
        again = own_round_trip(tmp_path / place, params, architecture, latent, **options)
        found, of_latent = load_params(again, shapes)
        assert_same(flat(jax.tree.map(np.asarray, found)), flat(params))
        assert of_latent == latent  # to the last digit


@pytest.mark.parametrize("variant", ["base", "videojam"])
def test_a_run_comes_back_as_one_that_others_start_from(variant, tmp_path):
    overrides = dict(word.removeprefix("--config.").split("=") for word in tiny_run.TINY)
    config = loading.load(f"{tiny_run.CONFIG}:{variant}", overrides)
    shapes = abstract_params(modelling.init(config), make_mesh({"data": 2}, jax.devices()[:2]))
    params = random_tree(shapes)
    again = own_round_trip(tmp_path, params, modelling.architecture(config))
    for ema in (True, False):  # it has but one set of parameters
        found, step = restore_params(again, shapes, modelling.architecture(config), ema=ema)
        assert step == 0
        assert_same(flat(jax.tree.map(np.asarray, found)), flat(params))
    other = "base" if variant == "videojam" else "videojam"
    config = loading.load(f"{tiny_run.CONFIG}:{other}", overrides)
    with pytest.raises(UserError, match="another architecture: model.motion"):
        restore_params(again, shapes, modelling.architecture(config), ema=True)


@pytest.mark.slow
def test_training_starts_from_a_run_that_went_through_a_file(tmp_path):
    def job_(name, variant, *words):
        status, said = tiny_run.run(tiny_run.command(name, *words, variant=variant))
        assert status == 0, said
        return said

    job_("prepare", "base", "--workdir", tmp_path / "data")
    job_("train", "base", "--workdir", tmp_path / "run", "--config.train.steps=2")
    for source, out in (("run", "run.safetensors"), ("run.safetensors", "again")):
        status, said = command(tmp_path / source, tmp_path / out)
        assert status == 0 and "tensors of a base model" in said, said
    averaged = {"/".join(map(str, k[1:])): x
                for k, x in tiny_run.leaves(tmp_path / "run", 2).items()
                if k[0] == "ema_params"}  # fmt: skip
    named = {re.sub(r"\['(.*?)'\]", r"\1", name): x for name, x in averaged.items()}
    assert_same(_arrays(tmp_path / "again"), named)
    said = job_(
        "train", "videojam", "--workdir", tmp_path / "videojam", "--config.train.steps=1",
        "--config.train.init_from=../again",
    )  # fmt: skip
    assert f"starting from {tmp_path}/again/checkpoints/0 (widened for motion" in said


def test_of_a_run_s_numbers_only_those_of_floating_point_are_cast(tmp_path):
    rng = np.random.default_rng(0)
    floats = {"a": {"kernel": rng.normal(size=(3, 4)).astype("f4")}, "scalar": np.float32(1.7)}
    others = {"table": np.arange(5, dtype=np.int32) + 2**24, "mask": np.array([True, False])}
    params = jax.tree.map(np.asarray, floats | others)
    own_round_trip(tmp_path, params, {"model": {"motion": True}})
    wanted = flat(jax.tree.map(lambda x: x.astype(jnp.bfloat16), jax.tree.map(np.asarray, floats)))
    convert(tmp_path / "run", tmp_path / "half.safetensors", dtype="bfloat16")
    found = load_file(tmp_path / "half.safetensors")
    assert_same({k.replace(".", "/"): x for k, x in found.items()}, wanted | others)
    convert(tmp_path / "file.safetensors", tmp_path / "half", dtype="bfloat16")
    assert_same(_arrays(tmp_path / "half"), wanted | others)


# --- what the command refuses ---


def refused(source, out, *arguments):
    """The one line that was said; nothing was written."""
    there = out.exists()
    status, said = command(source, out, *arguments)
    assert status == 2 and said.count("\n") == 1 and "Traceback" not in said, said
    assert out.exists() == there
    return said


def test_a_source_that_is_missing_is_named(tmp_path):
    for out in (tmp_path / "out", tmp_path / "out.safetensors"):
        assert f"{tmp_path / 'nothing'}: no such" in refused(tmp_path / "nothing", out)
    (tmp_path / "empty").mkdir()
    assert "no weights in it" in refused(tmp_path / "empty", tmp_path / "out")


def test_a_target_that_does_not_suit_is_named(t5, tmp_path):
    source, ours = t5
    assert "there are checkpoints already" in refused(source, ours)
    assert "--out must be a folder" in refused(source, tmp_path / "out.safetensors")
    assert "must be a file *.safetensors" in refused(ours, tmp_path / "out")
    (tmp_path / "file").write_text("kept")
    assert f"{tmp_path / 'file'}: it is a file" in refused(source, tmp_path / "file")
    assert f"{tmp_path / 'file'}" in refused(source, tmp_path / "file" / "out")
    assert f"{tmp_path / 'file'}" in refused(ours, tmp_path / "file" / "out.safetensors")
    assert (tmp_path / "file").read_text() == "kept"


def test_what_is_there_already_is_not_written_over(t5, tmp_path):
    _, ours = t5
    out = tmp_path / "model.safetensors"
    out.write_text("kept")
    assert f"{out}: it is there already" in refused(ours, out)
    assert out.read_text() == "kept"
    out.rename(f"{out}.index.json")
    assert f"{out}.index.json: it is there already" in refused(ours, out)


def test_a_model_that_it_is_not_is_told(t5, tmp_path):
    source, ours = t5
    said = refused(source, tmp_path / "out", "--model", "wan_vae")
    assert str(source) in said and "config.json: unknown key 'model_type'" in said
    assert "model_type is 't5'" in refused(source, tmp_path / "out", "--model", "clip")
    assert "no RAFT" in refused(source, tmp_path / "out", "--model", "raft")
    assert "no --model" in refused(ours, tmp_path / "out.safetensors", "--model", "t5")
    save_file({"x": np.zeros(2, np.float32)}, tmp_path / "x.safetensors")
    assert "not a model that is known here" in refused(tmp_path / "x.safetensors", tmp_path / "out")
    assert "config.json is missing" in refused(
        tmp_path / "x.safetensors", tmp_path / "out", "--model", "t5"
    )


def test_every_tensor_that_does_not_fit_is_named_and_nothing_is_written(t5, tmp_path):
    source, _ = t5
    tensors = load_file(source / "model.safetensors")
    del tensors["shared.weight"]
    tensors["encoder.final_layer_norm.weight"] = np.zeros(9, np.float32)
    tensors["odd"] = np.zeros(1, np.float32)
    said = refused(folder(tmp_path / "bad", tensors, T5), tmp_path / "out")
    for part in ("1 missing: shared.weight", "final_layer_norm.weight is [9], the model wants [8]",
                 "1 unknown: odd"):  # fmt: skip
        assert part in said
    assert "num_layers" in refused(
        folder(tmp_path / "short", tensors, {k: v for k, v in T5.items() if k != "num_layers"}),
        tmp_path / "out",
    )
    bad = folder(tmp_path / "broken", tensors, T5)
    (bad / "config.json").write_text("{")
    assert "config.json: not JSON" in refused(bad, tmp_path / "out")


def test_a_conversion_that_was_killed_is_run_again(t5, tmp_path):
    source, ours = t5
    # What orbax has on the disk until everything is.
    left = tmp_path / "ours" / "checkpoints" / "0.orbax-checkpoint-tmp-1"
    shutil.copytree(ours / "checkpoints" / "0", left)
    assert "no whole checkpoint" in refused(tmp_path / "ours", tmp_path / "out.safetensors")
    status, said = command(source, tmp_path / "ours")
    assert status == 0, said
    assert_same(_arrays(tmp_path / "ours"), _arrays(ours))
    assert not left.exists()


def test_a_checkpoint_that_the_disk_does_not_take_is_told_in_a_line(tmp_path):
    # A file may not grow beyond this: the same to the writer as a disk that is full.
    params = {"a": np.random.default_rng(0).normal(size=100_000)}
    save_file({"a": params["a"]}, tmp_path / "run.safetensors", {METADATA: OWN})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        status, said = command(tmp_path / "run.safetensors", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 2 and f"{tmp_path / 'out' / 'checkpoints'}: cannot be written" in said
    assert "Traceback" not in said and latest_whole(tmp_path / "out") is None
    assert command(tmp_path / "run.safetensors", tmp_path / "out")[0] == 0  # there is room again
    assert_same(_arrays(tmp_path / "out"), params)
