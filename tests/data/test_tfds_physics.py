"""The TFDS builder, prepared and read where TensorFlow cannot be imported."""

import os
import subprocess
import sys

import numpy as np
import pytest

from videojam_jax.data.simulate import Options, simulate

PREPARE = """
import sys

from importlib.machinery import PathFinder
find = PathFinder.find_spec
# As if TensorFlow were not installed, also where it is.
PathFinder.find_spec = lambda name, *rest: None if name == "tensorflow" else find(name, *rest)
import numpy as np
import tensorflow_datasets as tfds
from videojam_jax.data import tfds_physics
source = tfds.data_source("videojam_physics/tiny", split="train", data_dir=sys.argv[1])
example = source[3]
np.savez(sys.argv[2], count=len(source), video=example["video"], flow=example["flow"],
         caption=example["caption"].decode(), fps=example["fps"],
         position=example["states"]["position"], identity=example["states"]["identity"])
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    result, left = folder / "example.npz", folder / "left"
    left.mkdir()
    subprocess.run(
        [sys.executable, "-c", PREPARE, str(folder), str(result)], check=True, capture_output=True,
        env={**os.environ, "TMPDIR": str(left)},
    )  # fmt: skip
    return folder, dict(np.load(result)), list(left.iterdir())


def test_data_source_gives_the_simulated_clips_without_tensorflow(prepared):
    _, example, _ = prepared
    clip = simulate(3, Options(frames=8, height=32, width=32, bodies=(1, 1), pan=0.0), 0)
    assert example["count"] == 256
    assert str(example["caption"]) == clip.caption
    assert example["fps"] == clip.fps
    np.testing.assert_array_equal(example["video"], clip.video)
    np.testing.assert_array_equal(example["flow"], clip.flow)
    np.testing.assert_array_equal(example["position"], clip.states.position)
    np.testing.assert_array_equal(example["identity"], clip.states.identity)


def test_prepared_files_are_array_records(prepared):
    folder, *_ = prepared
    names = [path.name for path in folder.rglob("videojam_physics-*")]
    assert len(names) == 2 and all(".array_record-" in name for name in names)


def test_nothing_is_left_in_the_temporary_directory(prepared):
    assert prepared[-1] == []


def test_builder_prepares_when_told_the_file_format(tmp_path):
    import tensorflow_datasets as tfds

    from videojam_jax.data.tfds_physics import PhysicsConfig, VideojamPhysics

    options = Options(frames=4, height=24, width=32, bodies=(1, 3))
    config = PhysicsConfig(name="mine", options=options, clips={"train": 5, "test": 2})
    builder = VideojamPhysics(config=config, data_dir=tmp_path)
    builder.download_and_prepare(file_format="array_record")
    train, test = (builder.as_data_source(split=split) for split in ("train", "test"))
    assert (len(train), len(test)) == (5, 2)
    for index, example in enumerate(train):
        clip = simulate(index, options, 0)
        count = len(clip.states.radius)
        assert example["states"]["count"] == count
        np.testing.assert_array_equal(example["video"], clip.video)
        np.testing.assert_array_equal(
            example["states"]["position"][:, :count], clip.states.position
        )
        assert not example["states"]["position"][:, count:].any()
    assert example["caption"].decode() == clip.caption
    assert not np.array_equal(train[0]["video"], test[0]["video"])
    assert builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD
