"""What torch, transformers and diffusers write, converted and back: they read it again."""

import json
import sys
import types

import numpy as np
import pytest
import tiny_run

pytestmark = pytest.mark.oracle

torch = pytest.importorskip("torch")
# Registrations of operators that a torch of another build lacks; none is needed here.
registrations = "torchvision._meta_registrations"
sys.modules.setdefault(registrations, types.ModuleType(registrations))
safetensors_torch = pytest.importorskip("safetensors.torch")
transformers = pytest.importorskip("transformers")
diffusers = pytest.importorskip("diffusers")
optical_flow = pytest.importorskip("torchvision.models.optical_flow")

from videojam_jax.convert.job import convert  # noqa: E402
from videojam_jax.convert.layouts import raft  # noqa: E402
from videojam_jax.convert.tensors import open_tensors  # noqa: E402

T5 = dict(
    d_model=16, d_ff=24, num_layers=3, num_heads=2, d_kv=10, vocab_size=40,
    relative_attention_num_buckets=8, decoder_start_token_id=0,
)  # fmt: skip
CLIP = dict(
    vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
    num_attention_heads=2, max_position_embeddings=12, eos_token_id=59, bos_token_id=58,
    pad_token_id=59,
)  # fmt: skip
VISION = dict(
    hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8,
    patch_size=4,
)  # fmt: skip
VAE = dict(base_dim=8, z_dim=4, latents_mean=[0.3, -0.2, 0.1, -0.5], latents_std=[1.5, 0.7, 2, 1.1])


def randomised(model, dtype=torch.float32):
    """Every tensor of it another one: nothing may pass for its neighbour."""
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape))
    return model.to(dtype).eval()


def bits(tensors):
    """Dtype, shape and bytes of each."""

    def one(x):
        return x.contiguous().flatten().view(torch.uint8).numpy().tobytes()

    return {name: (str(x.dtype), tuple(x.shape), one(x)) for name, x in tensors.items()}


def same(a, b):
    a, b = bits(a), bits(b)
    assert a.keys() == b.keys()
    assert [name for name in a if a[name] != b[name]] == []


def in_and_out(source, place, name="model.safetensors", **options):
    """The folder that the source was written to again."""
    out = place / "out" / name
    status, said = tiny_run.here("convert", source, "--out", place / "ours")
    assert status == 0, said
    if options:
        convert(place / "ours", out, **options)
    else:
        status, said = tiny_run.here("convert", place / "ours", "--out", out)
        assert status == 0, said
    return out.parent


def in_files(folder):
    """All tensors of a folder's safetensors files, as torch reads them."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= safetensors_torch.load_file(path)
    return found


T5_KINDS = {
    "t5": (transformers.T5EncoderModel, transformers.T5Config, {"feed_forward_proj": "relu"}),
    "t5 v1.1": (
        transformers.T5EncoderModel, transformers.T5Config, {"feed_forward_proj": "gated-gelu"}
    ),
    "umt5": (transformers.UMT5EncoderModel, transformers.UMT5Config, {}),
}  # fmt: skip


@pytest.mark.parametrize("split", [False, True], ids=["one file", "split"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", T5_KINDS)
def test_a_t5_goes_in_and_out_and_transformers_reads_it_again(kind, dtype, split, tmp_path):
    model_class, config_class, changes = T5_KINDS[kind]
    model = randomised(model_class(config_class(**T5 | changes)), dtype)
    source = tmp_path / "public"
    model.save_pretrained(source, **({"max_shard_size": "4KB"} if split else {}))
    assert (len(list(source.glob("*.safetensors"))) > 1) == split
    folder = in_and_out(source, tmp_path, **({"shard_bytes": 4000} if split else {}))
    assert (len(list(folder.glob("*.safetensors"))) > 1) == split
    same(in_files(folder), in_files(source))
    assert (folder / "config.json").read_bytes() == (source / "config.json").read_bytes()
    again, info = model_class.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    same(again.state_dict(), model.state_dict())


def test_of_a_t5_with_a_decoder_the_encoder_goes_through(tmp_path):
    model = randomised(transformers.T5ForConditionalGeneration(transformers.T5Config(**T5)))
    source = tmp_path / "public"
    model.save_pretrained(source)
    status, said = tiny_run.here("convert", source, "--out", tmp_path / "ours")
    assert status == 0 and "are no part of it: decoder." in said
    folder = in_and_out(source, tmp_path / "again")
    again = transformers.T5EncoderModel.from_pretrained(folder)
    encoder = {
        name: x for name, x in model.state_dict().items() if name in again.state_dict()
    }
    same(again.state_dict(), encoder)


@pytest.mark.parametrize("whole", [False, True], ids=["text tower", "whole CLIP"])
def test_clip_goes_in_and_out_and_transformers_reads_it_again(whole, tmp_path):
    if whole:
        config = transformers.CLIPConfig(text_config=CLIP, vision_config=VISION)
        model = randomised(transformers.CLIPModel(config))
    else:
        model = randomised(transformers.CLIPTextModel(transformers.CLIPTextConfig(**CLIP)))
    source = tmp_path / "public"
    model.save_pretrained(source)
    folder = in_and_out(source, tmp_path)
    wanted, found = in_files(source), in_files(folder)
    if whole:  # but for the image tower and what joins the two
        assert any(name.startswith("vision_model.") for name in wanted)
        wanted = {name: x for name, x in wanted.items() if name.startswith("text_model.")}
    same(found, wanted)
    again = transformers.CLIPTextModel.from_pretrained(folder)
    text = model.text_model if whole else model
    same(again.state_dict(), text.state_dict())


def test_tokenizers_go_along(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    source = tmp_path / "public"
    randomised(transformers.T5EncoderModel(transformers.T5Config(**T5))).save_pretrained(source)
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), ("a", -2.0), ("b", -3.0)]
    unigram = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=2))
    unigram.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_object=unigram, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    theirs.save_pretrained(source)
    folder = in_and_out(source, tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(folder)
    for text in ("ab", "b a", ""):
        assert again(text).input_ids == theirs(text).input_ids


@pytest.mark.parametrize("split", [False, True], ids=["one file", "split"])
def test_wan_s_autoencoder_goes_in_and_out_and_diffusers_reads_it_again(split, tmp_path):
    model = randomised(diffusers.AutoencoderKLWan(**VAE))
    source = tmp_path / "public"
    model.save_pretrained(source)
    name = "diffusion_pytorch_model.safetensors"
    folder = in_and_out(source, tmp_path, name, **({"shard_bytes": 50_000} if split else {}))
    assert (len(list(folder.glob("*.safetensors"))) > 1) == split
    same(in_files(folder), in_files(source))
    assert (folder / "config.json").read_bytes() == (source / "config.json").read_bytes()
    again = diffusers.AutoencoderKLWan.from_pretrained(folder)
    same(again.state_dict(), model.state_dict())
    assert again.config.latents_mean == VAE["latents_mean"]


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("size", ["small", "large"])
def test_raft_goes_in_and_out_and_torchvision_reads_it_again(size, form, tmp_path):
    make = {"large": optical_flow.raft_large, "small": optical_flow.raft_small}[size]
    model = randomised(make())
    source = tmp_path / ("raft.safetensors" if form == "safetensors" else "raft.pth")
    if form == "safetensors":
        safetensors_torch.save_file(model.state_dict(), source)
    else:
        zip_ = form == "zip"
        torch.save(model.state_dict(), source, _use_new_zipfile_serialization=zip_)
    folder = in_and_out(source, tmp_path)
    # But for the counters of training steps, which torchvision puts back to their start.
    wanted = {k: x for k, x in model.state_dict().items() if not k.endswith("_tracked")}
    found = in_files(folder)
    same(found, wanted)
    again = make()
    again.load_state_dict(found)
    same({k: x for k, x in again.state_dict().items() if k in wanted}, wanted)


def test_princeton_s_raft_goes_out_under_the_names_it_came_in(tmp_path):
    model = randomised(optical_flow.raft_small())
    state = model.state_dict()
    theirs = {row.ours: row.public for row in raft.rows("small", "torchvision")}
    princeton = {row.public: state[theirs[row.ours]] for row in raft.rows("small", "princeton")}
    assert all(name.startswith("module.") for name in princeton)
    bare = {name.removeprefix("module."): x for name, x in princeton.items()}
    for number, wanted in enumerate((princeton, bare)):
        torch.save(wanted, tmp_path / f"{number}.pth", _use_new_zipfile_serialization=False)
        same(in_files(in_and_out(tmp_path / f"{number}.pth", tmp_path / f"{number}")), wanted)


def test_half_precision_is_torch_s_rounding(tmp_path):
    model = randomised(transformers.CLIPTextModel(transformers.CLIPTextConfig(**CLIP)))
    model.save_pretrained(tmp_path / "public")
    for dtype in ("bfloat16", "float16"):
        status, said = tiny_run.here(
            "convert", tmp_path / "public", "--out", tmp_path / dtype, "--dtype", dtype
        )
        assert status == 0, said
        out = tmp_path / f"{dtype}_out" / "model.safetensors"
        convert(tmp_path / dtype, out)
        wanted = {k: x.to(getattr(torch, dtype)) for k, x in in_files(tmp_path / "public").items()}
        same(in_files(out.parent), wanted)
        again = transformers.CLIPTextModel.from_pretrained(out.parent, dtype=getattr(torch, dtype))
        same(again.state_dict(), model.to(getattr(torch, dtype)).state_dict())
        model = model.to(torch.float32)
        model.load_state_dict(in_files(tmp_path / "public"))


def test_a_split_torch_folder_goes_in(tmp_path):
    model = randomised(transformers.T5EncoderModel(transformers.T5Config(**T5)))
    source = tmp_path / "public"
    source.mkdir()
    state = {k: x for k, x in model.state_dict().items() if k != "encoder.embed_tokens.weight"}
    places = {}
    for number, name in enumerate(sorted(state)):
        places[name] = f"pytorch_model-{number % 2 + 1:05d}-of-00002.bin"
    for file in sorted(set(places.values())):
        torch.save({k: x for k, x in state.items() if places[k] == file}, source / file)
    index = {"metadata": {}, "weight_map": places}
    (source / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    model.config.save_pretrained(source)
    folder = in_and_out(source, tmp_path)
    same(in_files(folder), state)
    found = {name: np.asarray(x[...]) for name, x in open_tensors(source).items()}
    assert found.keys() == state.keys()
    same(transformers.T5EncoderModel.from_pretrained(folder).state_dict(), model.state_dict())
