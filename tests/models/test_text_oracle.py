"""Text encoders against transformers, from files that transformers writes."""

import json
import sys
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytestmark = pytest.mark.oracle

torch = pytest.importorskip("torch")
# Of torchvision transformers wants only that it can be imported; its registrations ask for
# operators that a torch of another build lacks.
sys.modules.setdefault(
    "torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations")
)
transformers = pytest.importorskip("transformers")

from videojam_jax.convert.layouts import clip, t5  # noqa: E402
from videojam_jax.convert.read import public_tensors, read  # noqa: E402
from videojam_jax.convert.tensors import open_tensors  # noqa: E402
from videojam_jax.errors import UserError  # noqa: E402
from videojam_jax.models.text.clip import ClipText  # noqa: E402
from videojam_jax.models.text.t5 import T5Encoder, relative_buckets  # noqa: E402

SIZES = dict(d_model=24, d_ff=40, num_layers=3, num_heads=4, d_kv=10, vocab_size=50)
FEW_BUCKETS = dict(relative_attention_num_buckets=8, relative_attention_max_distance=20)
CLIP = dict(
    vocab_size=60,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    max_position_embeddings=40,
    eos_token_id=59,
    bos_token_id=58,
    pad_token_id=59,
)
# Of 40 positions, so that many distances exceed the largest of 20.
LENGTHS = (40, 1, 17, 33)


def t5_config(**changes):
    return transformers.T5Config(**SIZES | FEW_BUCKETS | changes)


T5_KINDS = {
    "T5 v1.1": lambda: (transformers.T5EncoderModel, t5_config(feed_forward_proj="gated-gelu")),
    "UL2": lambda: (transformers.T5EncoderModel, t5_config(feed_forward_proj="gated-silu")),
    "T5": lambda: (transformers.T5EncoderModel, t5_config(feed_forward_proj="relu")),
    "ByT5": lambda: (
        transformers.T5EncoderModel,
        # As ByT5's own config: 384 tokens, and nothing said of the largest distance.
        transformers.T5Config(**SIZES | {"vocab_size": 384}, feed_forward_proj="gated-gelu"),
    ),
    "mT5": lambda: (transformers.MT5EncoderModel, transformers.MT5Config(**SIZES | FEW_BUCKETS)),
    "umT5": lambda: (
        transformers.UMT5EncoderModel,
        transformers.UMT5Config(**SIZES | FEW_BUCKETS),
    ),
    "T5 v1.1 with its decoder": lambda: (
        transformers.T5ForConditionalGeneration,
        t5_config(feed_forward_proj="gated-gelu", num_decoder_layers=1),
    ),
}


def random_weights(model, seed=0):
    """Nothing is left at a value that would hide it: norms off one, biases off zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.3 * noise)
            elif parameter.ndim == 2 and "embed" not in name and "relative" not in name:
                parameter.copy_(noise / parameter.shape[1] ** 0.5)
            else:
                parameter.copy_(noise)
    return model.eval()


def padded_tokens(vocabulary, seed=1):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(3, vocabulary, (len(LENGTHS), max(LENGTHS)))
    mask = np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]
    return np.where(mask, tokens, 0), mask


def ours(encoder, layout, folder, tokens, mask):
    rows = layout.rows(encoder)
    tensors = open_tensors(folder)
    params = read(tensors, rows, abstract(encoder), ignored=layout.IGNORED)
    # What was read goes out as it came, to the last bit.
    for name, value in public_tensors(params, rows).items():
        if name in tensors:
            np.testing.assert_array_equal(value, tensors[name][...], err_msg=name)
    y = jax.jit(encoder.apply)({"params": params}, jnp.asarray(tokens, jnp.int32), mask)
    return np.asarray(y)


def abstract(encoder):
    tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    mask = jax.ShapeDtypeStruct((1, 2), bool)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return nn.unbox(jax.eval_shape(encoder.init, key, tokens, mask))["params"]


def relative_error(got, wanted, mask):
    return np.abs(got - wanted)[mask].max() / np.abs(wanted)[mask].max()


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("kind", T5_KINDS)
def test_every_t5_is_transformers_own(kind, tmp_path, record_property):
    model_class, config = T5_KINDS[kind]()
    model = random_weights(model_class(config))
    # Several files and their index, as large ones come.
    shards = {"max_shard_size": "8KB"} if kind == "UL2" else {}
    model.save_pretrained(tmp_path, **shards)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1 or not shards
    tokens, mask = padded_tokens(config.vocab_size)
    with torch.no_grad():
        wanted = model.get_encoder()(
            input_ids=torch.tensor(tokens), attention_mask=torch.tensor(mask)
        ).last_hidden_state.numpy()
    encoder = T5Encoder(**t5.options(config_of(tmp_path)))
    got = ours(encoder, t5, tmp_path, tokens, mask)
    error = relative_error(got, wanted, mask)
    print(f"{kind}: relative error {error:.2g}")
    assert error < 1e-4


def test_a_t5_under_its_other_names_is_the_same(tmp_path):
    config = t5_config(feed_forward_proj="gated-gelu")
    model = random_weights(transformers.T5EncoderModel(config))
    encoder = T5Encoder(**t5.options(config.to_dict()))
    tokens, mask = padded_tokens(config.vocab_size)
    state = model.state_dict()
    shared = state.pop("shared.weight")
    state.pop("encoder.embed_tokens.weight", None)
    bare = {name.removeprefix("encoder."): value for name, value in state.items()}
    results = []
    for number, tensors in enumerate(
        [
            state | {"shared.weight": shared, "encoder.embed_tokens.weight": shared},
            state | {"encoder.embed_tokens.weight": shared},
            bare | {"embed_tokens.weight": shared},
        ]
    ):
        path = tmp_path / f"{number}.pth"
        torch.save(tensors, path)
        results.append(ours(encoder, t5, path, tokens, mask))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("sizes", [(32, 128), (8, 20), (16, 50), (64, 512)])
def test_buckets_are_transformers_own(sizes):
    distances = np.arange(-600, 601)
    wanted = transformers.models.t5.modeling_t5.T5Attention._relative_position_bucket(
        torch.tensor(distances), True, *sizes
    )
    np.testing.assert_array_equal(relative_buckets(distances, *sizes), wanted.numpy())


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("whole", [False, True], ids=["text tower", "whole CLIP"])
def test_clip_s_text_tower_is_transformers_own(activation, whole, tmp_path):
    sizes = CLIP | {"hidden_act": activation}
    if whole:
        tiny = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1)
        vision = tiny | dict(num_attention_heads=1, image_size=8, patch_size=4)
        config = transformers.CLIPConfig(text_config=sizes, vision_config=vision)
        saved = random_weights(transformers.CLIPModel(config))
        model = saved.text_model
    else:
        model = saved = random_weights(transformers.CLIPTextModel(
            transformers.CLIPTextConfig(**sizes)
        ))
    saved.save_pretrained(tmp_path)
    tokens, mask = padded_tokens(58)
    with torch.no_grad():
        wanted = model(input_ids=torch.tensor(tokens)).last_hidden_state.numpy()
        masked = model(
            input_ids=torch.tensor(tokens), attention_mask=torch.tensor(mask)
        ).last_hidden_state.numpy()
    encoder = ClipText(**clip.options(config_of(tmp_path)))
    got = ours(encoder, clip, tmp_path, tokens, mask)
    error = relative_error(got, wanted, mask)
    print(f"CLIP, {activation}: relative error {error:.2g}")
    assert error < 1e-4
    assert relative_error(got, masked, mask) < 1e-4  # right padding, seen or not, changes nothing


def test_clip_with_and_without_its_prefix_is_the_same(tmp_path):
    config = transformers.CLIPTextConfig(**CLIP)
    model = random_weights(transformers.CLIPTextModel(config))
    encoder = ClipText(**clip.options(config.to_dict()))
    tokens, mask = padded_tokens(58)
    bare = {name.removeprefix("text_model."): value for name, value in model.state_dict().items()}
    prefixed = {f"text_model.{name}": value for name, value in bare.items()}
    # A buffer that files of older versions hold.
    prefixed["text_model.embeddings.position_ids"] = torch.arange(40)[None]
    results = []
    for number, tensors in enumerate([bare, prefixed]):
        path = tmp_path / f"{number}.pt"
        torch.save(tensors, path)
        results.append(ours(encoder, clip, path, tokens, mask))
    np.testing.assert_array_equal(*results)


def test_weights_of_another_size_are_refused_by_name(tmp_path):
    config = t5_config(feed_forward_proj="gated-gelu")
    transformers.T5EncoderModel(config).save_pretrained(tmp_path)
    options = t5.options(config_of(tmp_path)) | {"ffn": 48, "activation": "relu"}
    encoder = T5Encoder(**options)
    with pytest.raises(UserError, match=r"DenseReluDense\.wi\.weight"):
        ours(encoder, t5, tmp_path, *padded_tokens(50))
