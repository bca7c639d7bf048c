"""Clips of a prepared TFDS data set; a source, see `sources`."""

import dataclasses
import os
import re

import numpy as np

from videojam_jax.data import fit
from videojam_jax.data.clip import BadClip, Clip, ClipSpec, checked, clips_in, stride, too_short
from videojam_jax.errors import UserError
from videojam_jax.keys import REQUIRED, config_key

# The features a TFDS data set may hold its caption in; the first that is there is taken.
CAPTION_KEYS = ("caption", "text", "captions", "description")


@dataclasses.dataclass(frozen=True)
class TfdsOptions:
    """`config.source` of the name tfds."""

    dataset: str = config_key(REQUIRED, "NAME/CONFIG:SPLIT of a prepared TFDS data set")
    data_dir: str = config_key("", "where TFDS keeps it; empty: TFDS's default")


class Tfds:
    """A TFDS data set that has a `video` feature, read without TensorFlow.

    The name is as TFDS writes it, with the split behind a colon:
    "videojam_physics/tiny:train" (train when left out), "name/config:1.0.0:train[:80%]".
    The data set must lie prepared as ArrayRecord files. Features used:

    - `video`: uint8 `[t, h, w, c]`, c = 1, 3 or 4 (over black). Where every example has
      the same number of frames they are cut into clips as `spec` says; where the
      number varies, each example gives the clip at its beginning.
    - `caption`, `text`, `captions` or `description`: text, or several (the first counts).
    - `fps`: frames a second; without it the video is taken to have `spec.fps`. The first
      example's rate decides how many clips an example is cut into.
    - `flow`: float32 `[t - 1, h, w, 2]`, kept only where neither size nor rate change.

    Clip k of example i is "tfds:NAME:i#k".
    """

    def __init__(self, name: str, spec: ClipSpec, data_dir: str | os.PathLike | None = None):
        """Open the data set; `data_dir` defaults to TFDS's own.

        Raises:
          UserError: the name or split is unknown, the data set is not prepared or
            not readable here, it has no video, or its clips are too short.
        """
        builder_name, split = _split_name(name)
        fit.crop_position(spec, "")
        self._name, self._spec = name, spec
        self._data, features = _open_tfds(builder_name, split, data_dir)
        self.set_aside: list[dict[str, str]] = []
        if "video" not in features or len(features["video"].shape) != 4:
            names = ", ".join(sorted(features))
            raise UserError(f"tfds:{name} has no feature `video` of frames; it has {names}")
        if not len(self._data):
            raise UserError(f"tfds:{name} holds no examples")
        self._caption_key = next((key for key in CAPTION_KEYS if key in features), None)
        self._clips = 1
        length = features["video"].shape[0]
        if length is not None:
            frames = len(self._times(length, self._rate(self._data[0])))
            self._clips = clips_in(frames, spec)
            if not self._clips:
                raise UserError(f"tfds:{name}: {too_short(frames, spec)}")

    def __len__(self) -> int:
        return len(self._data) * self._clips

    def __getitem__(self, index: int) -> Clip:
        """Clip number `index`.

        Raises:
          BadClip: the example's video is too short or its caption no UTF-8.
        """
        example_number, part = divmod(checked(index, len(self)), self._clips)
        spec, source_id = self._spec, f"tfds:{self._name}:{example_number}#{part}"
        example = self._data[example_number]
        video, rate = example["video"], self._rate(example)
        times = self._times(len(video), rate)
        first = part * stride(spec)
        if len(times) < first + spec.frames:
            raise BadClip(source_id, too_short(len(times), spec))
        taken = times[first : first + spec.frames]
        position = fit.crop_position(spec, source_id)
        frames = [fit.cover(_rgb(video[i]), spec.height, spec.width, position) for i in taken]
        try:
            caption = self._caption(example)
        except UnicodeDecodeError as error:
            raise BadClip(source_id, "its caption is not UTF-8") from error
        flow = example.get("flow")
        if flow is not None:
            same = video.shape[1:3] == (spec.height, spec.width) and rate == spec.fps
            flow = flow[first : first + spec.frames - 1] if same else None
        return Clip(np.stack(frames), caption, source_id, spec.fps, flow)

    def describe(self) -> dict:
        return {
            "name": f"tfds:{self._name}",
            "examples": len(self._data),
            "clips": len(self),
            "caption_key": self._caption_key,
        }

    def _rate(self, example) -> float:
        rate = float(example.get("fps", self._spec.fps))
        # A rate stored as float32 is meant to be the same.
        return self._spec.fps if np.isclose(rate, self._spec.fps, rtol=1e-5) else rate

    def _times(self, length: int, rate: float) -> np.ndarray:
        """The frame shown at each time i / spec.fps, for `length` frames at `rate`."""
        count = int(np.ceil(length * self._spec.fps / rate - 1e-6))
        return np.floor(np.arange(count) * rate / self._spec.fps + 1e-6).astype(int)

    def _caption(self, example) -> str:
        caption = example[self._caption_key] if self._caption_key else ""
        if isinstance(caption, (list, tuple, np.ndarray)):
            caption = caption[0] if len(caption) else ""
        text = caption.decode("utf-8") if isinstance(caption, bytes) else str(caption)
        return " ".join(text.split())


def _split_name(name: str) -> tuple[str, str]:
    """ "a/b:1.0.0:train" -> ("a/b:1.0.0", "train")."""
    match = re.fullmatch(r"(?P<builder>[^:]+(?::\d+\.\d+\.\d+)?)(?::(?P<split>[^:].*))?", name)
    if match is None:
        raise UserError(f'"{name}" is no TFDS name; write "name/config:split"')
    return match["builder"], match["split"] or "train"


def _open_tfds(name: str, split: str, data_dir: str | os.PathLike | None):
    """The examples of a prepared split, by number, and the data set's features."""
    data_dir = None if data_dir is None else os.path.expanduser(data_dir)
    try:
        # Here, since it takes a second that only this source is worth.
        import tensorflow_datasets as tfds

        from videojam_jax.data import tfds_physics  # noqa: F401 registers its builder
    except ImportError as error:
        raise UserError(f"tfds:{name} needs a package that is missing: {error}") from error
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        features = builder.info.features
        if features is None or not builder.is_prepared():
            raise UserError(_prepare_message(name, data_dir))
        return builder.as_data_source(split=split), features
    except ImportError as error:
        # Some features, tfds.features.Video among them, are TensorFlow's own.
        raise UserError(
            f"tfds:{name} cannot be read here: {error}; a data set whose features need "
            "TensorFlow needs `pip install tensorflow`"
        ) from error
    except NotImplementedError as error:
        raise UserError(
            f"tfds:{name} is not stored as ArrayRecord, which random access needs; "
            f"prepare it again. {_prepare_message(name, data_dir)}"
        ) from error
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError, OSError) as error:
        raise UserError(f"tfds:{name}: {str(error).splitlines()[0]}") from error


def _prepare_message(name: str, data_dir: str | None) -> str:
    where = f", data_dir={str(data_dir)!r}" if data_dir else ""
    return (
        f"tfds:{name} is not prepared{f' in {data_dir}' if data_dir else ''}; to prepare it: "
        'python -c "import tensorflow_datasets as tfds, videojam_jax.data.tfds_physics; '
        f"tfds.builder('{name}'{where}, file_format='array_record').download_and_prepare()\""
    )


def _rgb(frame: np.ndarray) -> np.ndarray:
    if frame.shape[-1] == 1:
        return np.repeat(frame, 3, axis=-1)
    if frame.shape[-1] == 4:
        alpha = frame[..., 3:].astype(np.uint16)
        return ((frame[..., :3] * alpha + 127) // 255).astype(np.uint8)
    return frame
