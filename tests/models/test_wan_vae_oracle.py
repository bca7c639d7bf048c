"""The Wan 2.1 autoencoder against diffusers' AutoencoderKLWan, read from files it saved."""

import json
import sys
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.checkpoints.names import flat
from videojam_jax.convert.layouts import wan_vae as layout
from videojam_jax.convert.read import public_tensors, read
from videojam_jax.convert.tensors import open_tensors
from videojam_jax.models.autoencoders.wan_vae import WanAutoencoder, WanVae

torch = pytest.importorskip("torch")
# diffusers imports torchvision, which fails where its operators do not fit this torch; a
# module of that name keeps them away.
registrations = "torchvision._meta_registrations"
sys.modules.setdefault(registrations, types.ModuleType(registrations))
diffusers = pytest.importorskip("diffusers")

pytestmark = pytest.mark.oracle

TINY = dict(
    base_dim=8,
    z_dim=4,
    latents_mean=[0.3, -0.2, 0.1, -0.5],
    latents_std=[1.5, 0.7, 2.0, 1.1],
)
SIDE = 16


def abstract(module):
    video = jax.ShapeDtypeStruct((1, 5, SIDE, SIDE, 3), jnp.float32)
    return nn.unbox(jax.eval_shape(module.init, jax.random.key(0), video)["params"])


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    model = diffusers.AutoencoderKLWan(**TINY).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):
                parameter.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.2)
            else:  # as large as keeps a signal's variance, so that every branch has a say
                parameter.mul_(3**0.5)
        model.decoder.conv_out.weight.mul_(3)  # pixels over all of [-1, 1], and beyond
    return model


@pytest.fixture(scope="module")
def ours(theirs, tmp_path_factory):
    """The module and its parameters, from the files that diffusers wrote."""
    folder = tmp_path_factory.mktemp("vae")
    theirs.save_pretrained(folder)
    module = WanAutoencoder(**layout.options(json.loads((folder / "config.json").read_text())))
    rows = layout.rows(module)
    return module, read(open_tensors(folder), rows, abstract(module), ignored=layout.IGNORED)


def clip(frames):
    return np.random.default_rng(0).uniform(-1, 1, (2, frames, SIDE, SIDE, 3)).astype(np.float32)


def to_torch(x):
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def from_torch(x):
    return np.moveaxis(x.numpy(), 1, -1)


def relative(got, wanted):
    return np.abs(np.asarray(got) - wanted).max() / np.abs(wanted).max()


def wanted_latent(theirs, video):
    with torch.no_grad():
        mean = from_torch(theirs.encode(to_torch(video)).latent_dist.mean)
    return (mean - np.float32(TINY["latents_mean"])) / np.float32(TINY["latents_std"])


def wanted_video(theirs, latent):
    z = latent * np.float32(TINY["latents_std"]) + np.float32(TINY["latents_mean"])
    with torch.no_grad():
        return from_torch(theirs.decode(to_torch(z)).sample)


CASES = [(1, 1), (5, 1), (17, 1), (17, 2), (17, 4)]


@pytest.mark.parametrize(("frames", "chunk"), CASES)
def test_encode_is_diffusers_normalised_posterior_mean(theirs, ours, frames, chunk):
    video = clip(frames)
    wanted = wanted_latent(theirs, video)
    with jax.default_matmul_precision("float32"):
        vae = WanVae(*ours, chunk=chunk)
        got = jax.jit(WanVae.encode)(vae, video)
    assert got.shape == wanted.shape == vae.latent_shape(video.shape)
    assert relative(got, wanted) < 1e-4


@pytest.mark.parametrize(("frames", "chunk"), CASES)
def test_decode_is_diffusers(theirs, ours, frames, chunk):
    latent = np.random.default_rng(1).normal(size=(2, 1 + (frames - 1) // 4, 2, 2, 4))
    latent = latent.astype(np.float32)
    wanted = wanted_video(theirs, latent)
    assert (np.abs(wanted) < 1).mean() > 0.5 and wanted.std((2, 3)).min() > 0.1
    with jax.default_matmul_precision("float32"):
        got = jax.jit(WanVae.decode)(WanVae(*ours, chunk=chunk), latent)
    assert got.shape == wanted.shape == (2, frames, SIDE, SIDE, 3)
    assert relative(got, wanted) < 1e-4


def test_weights_go_back_bit_for_bit(theirs, ours):
    module, params = ours
    back = public_tensors(params, layout.rows(module))
    wanted = theirs.state_dict()
    assert sorted(back) == sorted(wanted)
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(back[name], tensor.numpy(), err_msg=name, strict=True)


@pytest.mark.parametrize("sizes", [{}, {"decoder_base_dim": 64, "num_res_blocks": 1}])
def test_names_and_shapes_at_full_width_are_diffusers(sizes):
    with torch.device("meta"):
        theirs = diffusers.AutoencoderKLWan(**sizes)
    module = WanAutoencoder(**layout.options(theirs.config))
    if not sizes:
        assert module == WanAutoencoder()  # the means and deviations of the latent as well
    arrays = flat(abstract(module))
    shapes = {}
    for row in layout.rows(module):
        shape = arrays[row.ours].shape
        back = range(len(shape)) if row.axes is None else np.argsort(row.axes)
        shapes[row.public] = tuple(shape[axis] for axis in back)
    assert shapes == {name: tuple(p.shape) for name, p in theirs.state_dict().items()}
