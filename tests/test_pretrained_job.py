"""prepare, train and sample with text encoders and Wan's autoencoder as they are published."""

import json
import sys
import types

import numpy as np
import pytest
import tiny_run

from videojam_jax.config import loading, modelling, preparing
from videojam_jax.data.loader import open_dataset

pytestmark = pytest.mark.oracle

torch = pytest.importorskip("torch")
sys.modules.setdefault(
    "torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations")
)
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

WIDTHS = (16, 24)
LENGTHS = (32, 12)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A tiny ByT5, CLIP and Wan autoencoder, as their libraries save them."""
    from diffusers import AutoencoderKLWan
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    byt5 = T5Config(
        vocab_size=384, d_model=WIDTHS[0], d_ff=32, num_heads=2, d_kv=8, num_layers=1,
        feed_forward_proj="gated-gelu",
    )
    T5EncoderModel(byt5).save_pretrained(folder / "byt5")
    (folder / "byt5" / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    vocabulary = letters + [letter + "</w>" for letter in letters]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    clip = CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=WIDTHS[1], intermediate_size=32,
        num_attention_heads=2, num_hidden_layers=1, max_position_embeddings=LENGTHS[1],
        bos_token_id=len(vocabulary) - 2, eos_token_id=len(vocabulary) - 1,
    )
    CLIPTextModel(clip).save_pretrained(folder / "clip")
    ids = {word: number for number, word in enumerate(vocabulary)}
    (folder / "clip" / "vocab.json").write_text(json.dumps(ids))
    (folder / "clip" / "merges.txt").write_text("#version: 0.2\n")
    AutoencoderKLWan(base_dim=8, num_res_blocks=1).save_pretrained(folder / "wan")
    return folder


def options(published):
    texts = tuple(str(published / name) for name in ("byt5", "clip"))
    return [
        "--config.clip.frames=5",
        "--config.source.clips=6",
        "--config.prepare.clips_per_shard=4",
        "--config.prepare.batch_size=2",
        "--config.autoencoder.name=wan_vae",
        f"--config.autoencoder.weights={published / 'wan'}",
        "--config.text.name=pretrained",
        f"--config.text.weights={texts}",
        f"--config.text.max_lengths={LENGTHS}",
        f"--config.text.widths={WIDTHS}",
        "--config.text.dtype=float32",
        "--config.model.patch=(1,1,1)",
        "--config.train.batch_size=8",
        "--config.mesh.data=-1",
    ]


def words(job, *rest):
    """`videojam JOB` made tiny, but with text of its own."""
    command = tiny_run.words(job, *rest, variant="videojam")
    return [word for word in command if not word.startswith("--config.text.")]


def test_clips_are_prepared_trained_on_and_sampled_with_published_models(published, tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    given = options(published)
    status, said = tiny_run.here(*words("prepare", "--workdir", data), *given)
    assert status == 0, said
    dataset = open_dataset(data)
    text = dataset[0]["text"]
    assert [part.shape[1] for part in text] == [*WIDTHS]
    # ByT5: a token a byte and the end; CLIP's has its own two ends.
    assert len(text[0]) == min(len(dataset[0]["caption"].encode()) + 1, LENGTHS[0])
    assert len(text[1]) <= LENGTHS[1]
    assert dataset.latent_shape == (2, 2, 2, 16)
    assert [part.shape for part in dataset.null_text] == [(1, WIDTHS[0]), (2, WIDTHS[1])]

    steps = ["--config.train.steps=2", "--config.train.init_from="]
    status, said = tiny_run.here(
        *words("train", "--workdir", run, f"--config.train.dataset={data}"), *given, *steps
    )
    assert status == 0 and "step 2/2" in said, said
    status, said = tiny_run.here("sample", "--workdir", run, "--prompt", "a red disc falls")
    assert status == 0 and "wrote" in said, said
    assert list((run / "samples" / "prompts").glob("*.mp4"))


def test_the_settings_hold_what_the_weights_are_and_not_where(published, tmp_path):
    given = options(published)
    config = loading.load(
        tiny_run.CONFIG, dict(word.removeprefix("--config.").split("=", 1) for word in given)
    )
    assert str(published) not in json.dumps(preparing.preparation(config))
    assert np.prod(modelling.latent_shape(config)) == 2 * 2 * 2 * 16
