"""RAFT against torchvision's, with the same random weights read from a file of torch.save."""

import functools
import re
import sys
import types

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.convert.layouts.raft import IGNORED, detect, rows
from videojam_jax.convert.read import read
from videojam_jax.convert.tensors import open_tensors
from videojam_jax.models.raft import RAFT

torch = pytest.importorskip("torch")
# It registers operators that a torch without them refuses; RAFT needs none.
sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("registrations"))
optical_flow = pytest.importorskip("torchvision.models.optical_flow")

pytestmark = pytest.mark.oracle

UPDATES = 12
TOLERANCE = 1e-3  # pixels, of flows that reach 10 and more


@functools.cache
def oracle(size):
    """Random as torch initialises it, but for the batch norms, which would do nothing."""
    torch.manual_seed(0)
    model = {"large": optical_flow.raft_large, "small": optical_flow.raft_small}[size]().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    return model


def read_params(path):
    """The parameters in a file, by the layout that its names tell."""
    tensors = open_tensors(path)
    size, naming = detect(tensors)
    frame = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    initialise = functools.partial(RAFT(size).init, updates=1)
    abstract = nn.unbox(jax.eval_shape(initialise, jax.random.key(0), frame, frame))["params"]
    return naming, read(tensors, rows(size, naming), abstract, ignored=IGNORED)


@functools.cache
def frames(height, width):
    """Two pairs of blobs, `[first and second, pair, h, w, 3]`."""
    coarse = np.random.default_rng(0).uniform(-1, 1, (2, 2, 16, 16, 3)).astype(np.float32)
    return np.asarray(jax.image.resize(coarse, (2, 2, height, width, 3), "cubic")).clip(-1, 1)


@functools.cache
def wanted(size, height, width):
    first, second = (torch.from_numpy(x).permute(0, 3, 1, 2) for x in frames(height, width))
    with torch.inference_mode():
        every = oracle(size)(first, second, num_flow_updates=UPDATES)
    return np.stack([flow.permute(0, 2, 3, 1).numpy() for flow in every])


@functools.cache
def compiled(size, iterates):
    return jax.jit(functools.partial(RAFT(size).apply, updates=UPDATES, iterates=iterates))


def estimated(size, params, height, width, iterates=False):
    with jax.default_matmul_precision("float32"):
        apply = compiled(size, iterates)
        return np.asarray(apply({"params": params}, *map(jnp.asarray, frames(height, width))))


def princeton_name(name):
    """A tensor's name in princeton-vl/RAFT, from torchvision's.

    Written from `core/extractor.py`, `core/update.py` and `core/raft.py` there.
    """
    for pattern, replacement in (
        (r"feature_encoder\.", "fnet."),
        (r"context_encoder\.", "cnet."),
        (r"net\.convnormrelu\.0\.", "net.conv1."),
        (r"net\.convnormrelu\.1\.", "net.norm1."),
        (r"net\.conv\.", "net.conv2."),
        (r"convnormrelu(\d)\.0\.", r"conv\1."),
        (r"convnormrelu(\d)\.1\.", r"norm\1."),
        (r"motion_encoder\.convcorr(\d)\.0\.", r"encoder.convc\1."),
        (r"motion_encoder\.convflow(\d)\.0\.", r"encoder.convf\1."),
        (r"motion_encoder\.conv\.0\.", "encoder.conv."),
        (r"recurrent_block\.convgru(\d)\.conv([zrq])\.", r"gru.conv\2\1."),
        (r"mask_predictor\.convrelu\.0\.", "update_block.mask.0."),
        (r"mask_predictor\.conv\.", "update_block.mask.2."),
    ):
        name = re.sub(pattern, replacement, name)
    return f"module.{name}"


def princeton_file(size, path):
    """What princeton-vl/RAFT would save of these weights."""
    state = {}
    for name, tensor in oracle(size).state_dict().items():
        public = princeton_name(name)
        if size == "small":  # its one recurrent unit has no number
            public = re.sub(r"gru\.conv([zrq])1", r"gru.conv\1", public)
        state[public] = tensor
        # The norm of a downsampling is an attribute of its block and in its sequence.
        if "downsample.1" in public:
            state[public.replace("downsample.1", "norm3")] = tensor
    torch.save(state, path)


@pytest.fixture(scope="module", params=["large", "small"])
def size_and_params(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "raft.pth"
    torch.save(oracle(request.param).state_dict(), path)
    naming, params = read_params(path)
    assert naming == "torchvision"
    return request.param, params


def test_every_update_s_flow_is_torchvision_s(size_and_params):
    size, params = size_and_params
    theirs = wanted(size, 128, 128)
    ours = estimated(size, params, 128, 128, iterates=True)
    lengths = np.linalg.norm(theirs[-1], axis=-1)
    away = np.abs(ours - theirs)
    print(f"{size}: flows of {lengths.mean():.2f}, at most {lengths.max():.2f} px;", end=" ")
    print(f"differences of at most {away.max():.1e} px")
    # Flows of some length, that the second frame has a say in.
    assert lengths.mean() > 2 and lengths.std() > 0.5
    assert np.abs(theirs[-1, 0] - theirs[-1, 1]).max() > 1
    assert away.max() < TOLERANCE, away.max((1, 2, 3, 4))


def test_frames_of_other_sides_give_torchvision_s_flow(size_and_params):
    size, params = size_and_params
    away = np.abs(estimated(size, params, 136, 160) - wanted(size, 136, 160)[-1])
    print(f"{size}: differences of at most {away.max():.1e} px")
    assert away.max() < TOLERANCE


def test_a_file_with_princeton_s_names_gives_the_same_flow(size_and_params, tmp_path):
    size, of_torchvision = size_and_params
    princeton_file(size, tmp_path / "raft-things.pth")
    naming, params = read_params(tmp_path / "raft-things.pth")
    assert naming == "princeton"
    chex.assert_trees_all_equal(params, of_torchvision)
    away = np.abs(estimated(size, params, 136, 160) - wanted(size, 136, 160)[-1])
    assert away.max() < TOLERANCE


def test_the_second_frame_decides_as_torchvision_lets_it(size_and_params):
    """Else a lookup in the wrong order could hide behind what the first frame gives."""
    size, params = size_and_params
    first, second = (torch.from_numpy(x).permute(0, 3, 1, 2) for x in frames(136, 160))
    with torch.inference_mode():
        swapped = oracle(size)(first, second.flip(0), num_flow_updates=UPDATES)[-1]
    swapped = swapped.permute(0, 2, 3, 1).numpy()
    change = np.abs(swapped - wanted(size, 136, 160)[-1]).max()
    print(f"{size}: another second frame moves the flow by up to {change:.2f} px")
    assert change > 100 * TOLERANCE
    with jax.default_matmul_precision("float32"):
        one, two = map(jnp.asarray, frames(136, 160))
        ours = np.asarray(compiled(size, False)({"params": params}, one, two[::-1]))
    assert np.abs(ours - swapped).max() < TOLERANCE
