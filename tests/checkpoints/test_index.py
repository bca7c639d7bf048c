"""The index of split weights, which comes from anywhere."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from videojam_jax.checkpoints.index import read_index
from videojam_jax.convert.tensors import open_tensors
from videojam_jax.errors import UserError

VALUES = {"x": np.arange(3, dtype=np.float32)}


def index_of(folder, part):
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": part}}))
    return index


@pytest.mark.parametrize(
    "part",
    ["../secret.safetensors", "below/../../secret.safetensors", "{root}/secret.safetensors",
     "..\\secret.safetensors", "C:\\secret.safetensors", "..", ".", "", 3],
)  # fmt: skip
def test_a_part_outside_of_the_folder_is_refused_though_it_is_there(part, tmp_path):
    save_file(VALUES, tmp_path / "secret.safetensors")
    (tmp_path / "weights" / "below").mkdir(parents=True)
    part = part.format(root=tmp_path) if isinstance(part, str) else part
    index = index_of(tmp_path / "weights", part)
    with pytest.raises(UserError, match="model.safetensors.index.json: its part .* no file in"):
        open_tensors(tmp_path / "weights")
    with pytest.raises(UserError, match=re.escape(repr(part))):
        read_index(index)


def test_parts_below_the_folder_and_links_from_it_are_read(tmp_path):
    save_file(VALUES, tmp_path / "blob")
    folder = tmp_path / "snapshot"
    (folder / "below").mkdir(parents=True)
    for name in ("part.safetensors", "below/part.safetensors"):
        (folder / name).symlink_to(tmp_path / "blob")  # as a cache of downloads has them
        assert read_index(index_of(folder, name)) == {"x": folder / name}
        np.testing.assert_array_equal(open_tensors(folder)["x"][...], VALUES["x"])
