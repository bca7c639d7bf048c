"""The simulated clips as a TFDS data set, `videojam_physics`.

Importing this module registers the name, so that
`tfds.data_source("videojam_physics/tiny", split="train", data_dir=...)` works.
It is written as ArrayRecord and needs no TensorFlow.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from videojam_jax.data.simulate import Options, simulate

SEEDS = {"train": 0, "test": 1}


@dataclasses.dataclass
class PhysicsConfig(tfds.core.BuilderConfig):
    """What the clips are like and how many there are.

    Attributes:
      options: see `simulate.Options`.
      clips: number of clips of each split. The test split has another seed. A
        split must stay below 1 GB: TFDS keeps that much in memory and sorts more
        with TensorFlow. For more clips use the source "simulated", which draws
        them as they are read.
    """

    options: Options = dataclasses.field(default_factory=Options)
    clips: dict[str, int] = dataclasses.field(default_factory=dict)


class LocalInfo(tfds.core.DatasetInfo):
    """Of a data set that is made here: TFDS's bucket is not asked for what it knows of it.

    Every time a builder is opened that has nothing prepared yet, TFDS would, over the network,
    and leave an empty folder in the temporary directory behind.
    """

    def initialize_from_bucket(self) -> None:
        pass


class VideojamPhysics(tfds.core.GeneratorBasedBuilder):
    """Textured bodies that fall, bounce, collide, roll, swing and spin.

    Flow is exact for every pixel of frame i. `states` are those of
    `simulate.States`, padded with zeros to the config's greatest number of
    bodies; `states/count` says how many are there.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        PhysicsConfig(
            name="tiny",
            description="8 frames of 32 x 32, one body, fixed camera: the quickstart's clips.",
            options=Options(frames=8, height=32, width=32, bodies=(1, 1), pan=0.0),
            clips={"train": 256, "test": 32},
        ),
        PhysicsConfig(
            name="small",
            description="16 frames of 64 x 64, one to three bodies, the camera may pan.",
            options=Options(),
            clips={"train": 5_000, "test": 200},
        ),
    ]
    # Nothing is downloaded. Said here, because TFDS 4.9.10 looks for a list of
    # checksums with importlib_resources, which it does not require to be installed.
    url_infos = {}

    def __init__(self, *, file_format: str | None = None, **kwargs):
        # TFDS itself would fall back to TFRecord, which only TensorFlow can write.
        super().__init__(file_format=file_format or "array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        o = self.builder_config.options
        most = o.bodies[1]

        def tensor(dtype, *shape):
            return tfds.features.Tensor(shape=shape, dtype=dtype)

        def packed(dtype, *shape):
            return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="zlib")

        return LocalInfo(
            builder=self,
            disable_shuffling=True,
            description=self.builder_config.description,
            features=tfds.features.FeaturesDict(
                {
                    "video": packed(np.uint8, o.frames, o.height, o.width, 3),
                    "flow": packed(np.float32, o.frames - 1, o.height, o.width, 2),
                    "caption": tfds.features.Text(),
                    "fps": tfds.features.Scalar(np.float32),
                    "kind": tfds.features.Text(),
                    "states": {
                        "count": tfds.features.Scalar(np.int32),
                        "position": tensor(np.float32, o.frames, most, 2),
                        "velocity": tensor(np.float32, o.frames, most, 2),
                        "angle": tensor(np.float32, o.frames, most),
                        "visible_area": tensor(np.float32, o.frames, most),
                        "radius": tensor(np.float32, most),
                        "camera": tensor(np.float32, o.frames, 2),
                        "identity": packed(np.uint8, o.frames, o.height, o.width),
                    },
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        del dl_manager  # nothing is downloaded
        return {
            split: self._generate_examples(count, SEEDS[split])
            for split, count in self.builder_config.clips.items()
        }

    def _generate_examples(self, count: int, seed: int):
        for index in range(count):
            yield index, _example(index, self.builder_config.options, seed)


def _example(index: int, options: Options, seed: int) -> dict:
    clip = simulate(index, options, seed)
    states = clip.states
    missing = options.bodies[1] - len(states.radius)

    def padded(array: np.ndarray, axis: int) -> np.ndarray:
        widths = [(0, missing if i == axis else 0) for i in range(array.ndim)]
        return np.pad(array, widths)

    return {
        "video": clip.video,
        "flow": clip.flow,
        "caption": clip.caption,
        "fps": clip.fps,
        "kind": clip.kind,
        "states": {
            "count": len(states.radius),
            "position": padded(states.position, 1),
            "velocity": padded(states.velocity, 1),
            "angle": padded(states.angle, 1),
            "visible_area": padded(states.visible_area, 1),
            "radius": padded(states.radius, 0),
            "camera": states.camera,
            "identity": states.identity,
        },
    }
