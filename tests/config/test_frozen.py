"""Models with weights that are not trained here: found, checked, told apart by their bits."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
import tiny_tae
from tokenizers import pre_tokenizers

from videojam_jax.checkpoints.read import read_architecture
from videojam_jax.checkpoints.write import save_params
from videojam_jax.config import frozen, loading, modelling, preparing
from videojam_jax.convert import weights
from videojam_jax.errors import UserError

SMALL_RAFT = ["--config.motion.flow=raft", "--config.motion.raft.size=small"]


def config(*arguments):
    given = [word.removeprefix("--config.") for word in (*tiny_run.TINY, *arguments)]
    return loading.load(f"{tiny_run.CONFIG}:base", dict(w.split("=", 1) for w in given))


def tae_config(path, *arguments):
    return config(*tiny_tae.READER, f"--config.autoencoder.weights={path}", *arguments)


@pytest.fixture(scope="module")
def tae(tmp_path_factory):
    """The workdir of a trained temporal autoencoder."""
    return tiny_tae.trained(tmp_path_factory)[0]


@pytest.fixture(scope="module")
def raft(tmp_path_factory):
    """A folder of random weights of the small RAFT, as `videojam convert` writes them."""
    folder = tmp_path_factory.mktemp("weights") / "raft"
    options = {"size": "small", "naming": "torchvision"}
    found = weights.random_weights("raft", options, frozen.one_device())
    about = {weights.CONVERTED: {"kind": "raft", "options": options}}
    save_params(folder, jax.device_get(found.params), about)
    return folder


# --- what is missing or of another kind -------------------------------------------------


@pytest.mark.parametrize("name", ["tae", "wan_vae"])
def test_an_autoencoder_without_weights_names_the_key(name):
    with pytest.raises(UserError, match="set config.autoencoder.weights") as told:
        frozen.autoencoder(config(f"--config.autoencoder.name={name}"))
    assert name in str(told.value) and "'random'" in str(told.value)


def test_raft_without_weights_names_the_key_and_other_flows_need_none():
    with pytest.raises(UserError, match="set config.motion.raft.weights"):
        frozen.device_flow(config(*SMALL_RAFT))
    assert frozen.device_flow(config("--config.motion.flow=dis")) is None


def test_text_encoders_without_weights_name_the_key():
    pretrained = [
        "--config.text.name=pretrained", "--config.text.widths=(8,)",
        "--config.text.max_lengths=(16,)",
    ]  # fmt: skip
    given = dict(word.removeprefix("--config.").split("=", 1) for word in pretrained)
    with pytest.raises(UserError, match="config.text.weights, one folder for each encoder"):
        frozen.text(loading.load(f"{tiny_run.CONFIG}:base", given))


def test_shapes_need_no_weights():
    for name, shape in (("tae", (3, 8, 8, 4)), ("wan_vae", (2, 2, 2, 16))):
        given = tiny_tae.READER[1:] if name == "tae" else []
        read = config(f"--config.autoencoder.name={name}", *given)
        assert frozen.latent_shape(read, (5, 16, 16, 3)) == shape


@pytest.mark.parametrize("what", ["nowhere", "empty"])
def test_a_folder_without_weights_is_named_with_its_key(tmp_path, what):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"^config.autoencoder.weights: .*{what}: no checkpoints"):
        frozen.autoencoder(tae_config(tmp_path / what))
    read = config(*SMALL_RAFT, f"--config.motion.raft.weights={tmp_path / what}")
    with pytest.raises(UserError, match=rf"^config.motion.raft.weights: .*{what}: "):
        frozen.device_flow(read)


def test_weights_of_another_kind_are_named_with_their_key(tae, raft):
    with pytest.raises(UserError, match="config.autoencoder.weights: .*no temporal autoencoder"):
        frozen.autoencoder(tae_config(raft))
    wanted = "config.motion.raft.weights: .*a run of `videojam train`, where weights of raft"
    with pytest.raises(UserError, match=wanted):
        frozen.device_flow(config(*SMALL_RAFT, f"--config.motion.raft.weights={tae}"))
    read = config("--config.autoencoder.name=wan_vae", f"--config.autoencoder.weights={raft}")
    with pytest.raises(UserError, match="weights of raft, where weights of wan_vae are wanted"):
        frozen.autoencoder(read)


@pytest.mark.parametrize(
    ("key", "given", "there"),
    [("compression", (2, 4, 4), (2, 2, 2)), ("channels", 8, 4)],
)
def test_an_autoencoder_of_other_latents_names_the_key_and_both_values(tae, key, given, there):
    read = tae_config(tae, f"--config.autoencoder.{key}={given}")
    with pytest.raises(UserError) as told:
        frozen.autoencoder(read)
    assert f"with {key} {there}, but config.autoencoder.{key} = {given}" in str(told.value)


def test_an_autoencoder_whose_latents_were_not_measured_is_refused(tae, tmp_path):
    params = {"autoencoder": jax.device_get(frozen.autoencoder(tae_config(tae)).params)}
    save_params(tmp_path, params, read_architecture(tae), latent=None)
    with pytest.raises(UserError, match="shift and scale are missing"):
        frozen.autoencoder(tae_config(tmp_path))


# --- what is there ----------------------------------------------------------------------


@pytest.fixture
def guarded():
    with jax.transfer_guard("disallow"):
        yield


def test_jobs_that_forbid_accidental_transfers_can_read_weights(tae, guarded):
    for path in (tae, "random"):
        found = frozen.autoencoder(tae_config(path))
        assert found.shift.shape == found.scale.shape == (4,)
        assert len(frozen.fingerprints(found)) == 1


def test_converted_weights_are_those_that_were_converted(raft, guarded):
    found, drawn = (
        frozen.device_flow(config(*SMALL_RAFT, f"--config.motion.raft.weights={path}"))
        for path in (raft, "random")
    )
    found, drawn = jax.device_get((found.args, drawn.args))
    chex.assert_trees_all_equal(found, drawn)


# --- what text encoders are given -------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A CLIP of 77 positions, as public ones have, converted, its tokenizer beside it."""
    folder = tmp_path_factory.mktemp("weights") / "clip"
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
    options = {"vocabulary": len(names), "width": 8, "ffn": 16, "heads": 2, "blocks": 1}
    options |= {"max_length": 77, "activation": "quick_gelu", "eps": 1e-5}
    found = weights.random_weights("clip", options, frozen.one_device())
    about = {weights.CONVERTED: {"kind": "clip", "options": options}}
    save_params(folder, jax.device_get(found.params), about)
    (folder / "vocab.json").write_text(json.dumps({x: i for i, x in enumerate(names)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


def text_config(path, lengths=(77, 77), **changes):
    """Two encoders, both the CLIP of `path`."""
    given = {"name": "pretrained", "max_lengths": lengths, "widths": (8, 8), "dtype": "float32"}
    given |= {"weights": (str(path), str(path))} | changes
    given = {f"text.{key}": str(value) for key, value in given.items()}
    return loading.load(f"{tiny_run.CONFIG}:base", given)


def test_a_public_clip_has_77_positions_and_more_are_refused_with_what_to_write(clip):
    found = frozen.text(text_config(clip)).encode(["a" * 300])[0]
    assert [part.shape for part in found] == [(77, 8), (77, 8)]
    with pytest.raises(UserError, match="says 256 for it: write 77 there") as told:
        frozen.text(text_config(clip, (77, 256)))
    assert str(clip) in str(told.value) and "config.text.max_lengths" in str(told.value)


def test_prepare_and_sample_give_each_encoder_what_it_reads(clip):
    plain = frozen.text(text_config(clip))
    reading = frozen.text(text_config(clip, reads=("prompt", "quoted"), fps_prefix=True))
    prompts = ['a "go" sign', "a dog", ""]
    found = reading.encode(prompts)
    # The quickstart's clips have 6 frames a second.
    whole = plain.encode(['FPS-6 a "go" sign', "FPS-6 a dog", ""])
    quoted = plain.encode(["go", "", ""])
    for one, a, b in zip(found, whole, quoted, strict=True):
        np.testing.assert_array_equal(one[0], a[0])
        np.testing.assert_array_equal(one[1], b[1])


def test_the_motion_latents_scale_shapes_prepared_clips_and_has_the_latents_channels():
    plain = config()  # blocks of pixels: 48 channels
    mean, std = ("(" + ",".join([value] * 48) + ")" for value in ("0.5", "2.0"))
    scale = f"--config.motion.latent_mean={mean}", f"--config.motion.latent_std={std}"
    scaled = config(*scale)
    assert preparing.motion_code(scaled).latent_std == (2.0,) * 48
    # As in folders that were prepared before there were such keys.
    wanted = {"flow": "exact", "dis_preset": "medium", "sigma": 0.15}
    assert preparing.preparation(plain)["config"]["motion"] == wanted
    more = {"latent_mean": [0.5] * 48, "latent_std": [2.0] * 48}
    assert preparing.preparation(scaled)["config"]["motion"] == wanted | more
    with pytest.raises(UserError, match="have 48 channels, the latents of config.auto.* 12: "):
        preparing.motion_code(config(*scale, "--config.autoencoder.patch=(1,2,2)"))


def test_what_encoders_read_shapes_prepared_clips_and_no_parameter():
    plain = text_config("random")
    same = text_config("random", reads=("prompt", "prompt"))
    other = [
        text_config("random", **changed)
        for changed in ({"reads": ("prompt", "quoted")}, {"fps_prefix": True})
    ]
    # As in folders that were prepared before there were such keys.
    wanted = {"name": "pretrained", "max_lengths": [77, 77], "widths": [8, 8], "dtype": "float32"}
    assert preparing.preparation(plain)["config"]["text"] == wanted
    assert preparing.preparation(same) == preparing.preparation(plain)
    first, second = (preparing.preparation(one)["config"]["text"] for one in other)
    assert first == wanted | {"reads": ["prompt", "quoted"]}
    assert second == wanted | {"fps_prefix": True}
    before = {"name": "pretrained", "max_lengths": [77, 77], "widths": [8, 8]}
    for one in (plain, same, *other):
        assert modelling.architecture(one)["text"] == before


# --- fingerprints -----------------------------------------------------------------------


def normal(*shape, seed=0, dtype=np.float32, values_of=np.float32):
    """Weights of `dtype`, of which those of the mantissa that `values_of` lacks are zero."""
    values = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return values.astype(values_of).astype(dtype)


def tree():
    return {"kernel": normal(16, 64), "bias": normal(64, seed=1)}


def prints(trees):
    """The fingerprint of each, all found by one program."""
    found = frozen.fingerprints(*(jax.device_put(one) for one in trees))
    assert len(found) == len(trees)
    return found


def test_equal_weights_have_equal_fingerprints_wherever_they_lie():
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("x",))
    spread = jax.device_put(tree()["kernel"], jax.NamedSharding(mesh, jax.P(None, "x")))
    there = prints([tree()])
    assert there == prints([tree()])
    assert prints([tree() | {"kernel": spread}]) == there


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_one_bit_of_one_weight_makes_another_fingerprint(dtype):
    there = normal(64, dtype=dtype)
    word = np.dtype(f"uint{8 * there.dtype.itemsize}")
    others = []
    for bit in (0, 7, 15):
        for place in (0, 1, 63):
            bits = there.view(word).copy()
            bits[place] ^= np.asarray(1 << bit, word)
            others.append(bits.view(dtype))
    found = prints([there, *others])
    assert len(set(found)) == len(found) == 10


@pytest.mark.parametrize("values_of", [np.float32, jnp.bfloat16])
def test_two_rows_that_change_places_make_another_fingerprint(values_of):
    # Many columns, so that the distance of two rows is a multiple of a high power of two.
    there = normal(16, 4096, values_of=values_of)
    others = []
    for one, other in ((0, 1), (3, 11), (0, 8)):
        swapped = there.copy()
        swapped[[one, other]] = there[[other, one]]
        others.append(swapped)
    found = prints([there, *others])
    assert len(set(found)) == len(found) == 4


def test_signs_that_change_places_make_another_fingerprint():
    there = np.stack([np.ones(8, np.float32), -np.ones(8, np.float32)])
    one, other = prints([there, there[::-1].copy()])
    assert one != other


def test_another_shape_or_another_order_of_equal_bits_is_another_fingerprint():
    there = np.arange(16, dtype=np.float32)
    one, other = prints([[there], [there.reshape(4, 4)]])
    assert one != other
    one, other = prints([[there, there + 1], [there + 1, there]])
    assert one != other


def test_models_without_weights_have_no_fingerprint(tae):
    pixels = frozen.autoencoder(config())
    assert frozen.fingerprints(pixels, None, frozen.text(config())) == []
    assert len(frozen.fingerprints(frozen.autoencoder(tae_config(tae)), None)) == 1


# --- what they mean for prepared clips --------------------------------------------------


def test_where_weights_lie_does_not_shape_prepared_clips_and_what_they_are_does(tae, tmp_path):
    moved, here = (
        tae_config(path, *SMALL_RAFT, f"--config.motion.raft.weights={path}")
        for path in (tmp_path / "elsewhere", tae)
    )
    assert preparing.preparation(moved) == preparing.preparation(here)
    assert str(tae) not in str(preparing.preparation(here))

    simulated = ["--config.source.clips=2", "--config.motion.flow=exact"]
    out, link = tmp_path / "clips", tmp_path / "link"
    link.symlink_to(tae)

    def prepared(path):
        read = tae_config(path, *simulated)
        return preparing.prepare(read, preparing.source(read), out, lambda *numbers: None)

    whole = prepared(tae)
    assert whole["settings"]["weights"] == frozen.fingerprints(frozen.autoencoder(tae_config(tae)))
    assert prepared(link) == whole, "the same weights by another path"
    found = frozen.autoencoder(tae_config(tae))
    other = jax.tree.map(np.negative, jax.device_get(found.params))
    latent = {"shift": found.shift.tolist(), "scale": found.scale.tolist()}
    architecture = read_architecture(tae)
    save_params(tmp_path / "other", {"autoencoder": other}, architecture, latent=latent)
    with pytest.raises(UserError, match=r"prepared with other settings \(settings.json\): weights is"):
        prepared(tmp_path / "other")
