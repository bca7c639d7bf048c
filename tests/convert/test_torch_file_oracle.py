"""Files that torch and safetensors write, read without them: the same tensors to the bit."""

import json
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.oracle

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

from videojam_jax.convert.tensors import open_tensors  # noqa: E402
from videojam_jax.errors import UserError  # noqa: E402

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip


def state():
    """Every kind of number, and every way in which a tensor may lie in its storage."""
    torch.manual_seed(0)
    base = torch.randn(6, 8)
    found = {f"of.{dtype}".replace("torch.", ""): (base * 9).to(dtype) for dtype in DTYPES}
    return found | {
        "scalar": torch.tensor(2.5),
        "scalar int": torch.tensor(2**40),
        "scalar of a vector": base[3, 2],
        "empty": torch.zeros(0, 4),
        "transposed": base.T,
        "permuted": torch.randn(2, 3, 4, 5).permute(3, 1, 0, 2),
        "rows": base[2:5],
        "columns": base[:, 1:7:2],
        "expanded": torch.randn(4, 1).expand(4, 5),
        "channels last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "tied": base,
        "tied too": base,
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "frozen": torch.nn.Parameter(torch.randn(3), requires_grad=False),
        "bfloat16 view": torch.randn(4, 4).bfloat16()[1:, ::2],
    }


def bits(tensor):
    """A torch tensor as the bytes of its numbers in their order."""
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        got = np.asarray(found[name][...])
        assert (found[name].shape, str(found[name].dtype)) == (
            tuple(tensor.shape),
            str(tensor.dtype).removeprefix("torch."),
        ), name
        assert np.ascontiguousarray(got).tobytes() == bits(tensor), name
        if tensor.ndim == 2:
            part = np.ascontiguousarray(found[name][1:3, 1:])
            assert part.tobytes() == bits(tensor[1:3, 1:]), name


@pytest.mark.parametrize("zip_", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_state_dict_is_what_torch_saved(zip_, protocol, tmp_path):
    wanted = state()
    torch.save(
        wanted, tmp_path / "a.pt", _use_new_zipfile_serialization=zip_, pickle_protocol=protocol
    )
    assert_same(open_tensors(tmp_path / "a.pt"), wanted)


@pytest.mark.parametrize("zip_", [True, False], ids=["zip", "legacy"])
def test_a_module_s_state_dict_is_found_in_a_checkpoint_of_training(zip_, tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    adam = torch.optim.Adam(net.parameters())
    net(torch.randn(5, 3)).sum().backward()
    adam.step()
    kept = {"epoch": 3, "lr": 1e-3, "loss": torch.tensor(0.1), "name": "run"}
    for wrapper in ("state_dict", "model_state_dict", "model"):
        content = kept | {"optimizer": adam.state_dict(), wrapper: net.state_dict()}
        torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zip_)
        assert_same(open_tensors(tmp_path / "a.pth"), net.state_dict())


def test_a_state_dict_split_into_torch_files_is_read_by_its_index(tmp_path):
    wanted = state()
    names = sorted(wanted)
    places = {}
    for number in range(3):
        file = f"pytorch_model-{number + 1:05d}-of-00003.bin"
        part = {name: wanted[name] for name in names[number::3]}
        torch.save(part, tmp_path / file)
        places |= {name: file for name in part}
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert_same(open_tensors(tmp_path), wanted)


def test_safetensors_are_what_torch_saved(tmp_path):
    wanted = {name: tensor.detach().clone().contiguous() for name, tensor in state().items()}
    safetensors_torch.save_file(wanted, tmp_path / "a.safetensors")
    assert_same(open_tensors(tmp_path / "a.safetensors"), wanted)


class Runs(torch.nn.Module):
    """Its pickle names this class; that of `Command` a function of the system."""


class Command:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return subprocess.call, ([sys.executable, "-c", f"open({str(self.marker)!r}, 'w')"],)


@pytest.mark.parametrize("zip_", [True, False], ids=["zip", "legacy"])
def test_a_file_with_more_than_tensors_is_refused_and_runs_nothing(zip_, tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "a.pth"
    for content, said in (
        ({"weight": torch.ones(2), "x": Command(marker)}, ".call, which is no tensor"),
        (torch.nn.Linear(2, 2), "it holds torch.nn.modules.linear.Linear"),
        (Runs(), "Runs"),
        ({"weight": torch.ones(2), "dtype": torch.float32}, "torch.float32"),
        ({"weight": torch.ones(2, dtype=torch.complex64)}, "it holds torch.ComplexFloatStorage"),
        ({"weight": np.ones(2)}, "numpy"),
        ([torch.ones(2)], "no tensors in it"),
        (torch.ones(2), "no tensors in it"),
        ({"epoch": 3}, "no tensors in it"),
    ):
        torch.save(content, path, _use_new_zipfile_serialization=zip_)
        with pytest.raises(UserError) as caught:
            open_tensors(path)
        message = str(caught.value)
        assert message.startswith(str(path)) and said in message and "\n" not in message, message
    assert not marker.exists()
    torch.save({"x": Command(marker)}, path, _use_new_zipfile_serialization=zip_)
    torch.load(path, weights_only=False)
    assert marker.exists()  # so the file was one that runs a command


def test_a_compiled_module_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "a.pt")
    with pytest.raises(UserError, match="__torch__.*which is no tensor"):
        open_tensors(tmp_path / "a.pt")
