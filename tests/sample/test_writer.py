"""From sampled latents to files: the right clip under the right name, and no two runs' mixed."""

from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_run

from videojam_jax import randomness
from videojam_jax.config import frozen, loading
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.rules import replicated
from videojam_jax.sample import writer
from videojam_jax.sample.clips import to_video
from videojam_jax.sample.files import SampleFolder

PROMPTS = ["a", "b", "c"]


def config(**keys):
    tiny = dict(word.removeprefix("--config.").split("=", 1) for word in tiny_run.TINY)
    return loading.load(f"{tiny_run.CONFIG}:videojam", tiny | keys)


def params(value=1.0):
    mesh = make_mesh({"data": 1}, jax.devices()[:1])
    return {"w": jax.device_put(np.full(3, value, np.float32), replicated(mesh))}


def test_every_row_of_every_batch_is_written_as_the_clip_of_its_number(monkeypatch, tmp_path):
    latents = np.random.default_rng(0).normal(size=(2, 3, 4, 4, 4, 48)).astype(np.float32)
    asked, added, told = [], {}, []

    def generate(params, prompts, seed, finished):
        asked.append((prompts, seed, finished))
        for numbers in (range(0, 2), range(2, 3)):
            yield numbers, latents[0, list(numbers)], latents[1, list(numbers)]

    def add(folder, number, *clips, really=SampleFolder.add):
        added[number] = clips
        really(folder, number, *clips)

    monkeypatch.setattr(writer, "make_generate", lambda config: generate)
    monkeypatch.setattr(SampleFolder, "add", add)
    made = config()
    writer.make_writer(made)(tmp_path / "out", params(), PROMPTS, 5, 100, told.append)
    assert asked == [(PROMPTS, 5, frozenset())] and told == [0, 2, 3]
    decoder = frozen.autoencoder(made)
    for number in range(3):
        for half, clip in enumerate(added[number]):
            wanted = to_video(latents[half, number : number + 1], decoder)[0]
            np.testing.assert_array_equal(clip, wanted)


def test_clips_of_other_parameters_another_config_or_other_noise_are_told_apart(monkeypatch):
    class Seen(Exception):
        """What the folder is told of where its clips come from."""

    def sample_folder(*_, origin, about, **rest):
        raise Seen(origin, str(about))

    monkeypatch.setattr(writer, "make_generate", lambda config: None)
    monkeypatch.setattr(writer, "sample_folder", sample_folder)

    def origin(made, given, seed=0):
        with pytest.raises(Seen) as seen:
            writer.make_writer(made)(Path("out"), given, PROMPTS, seed, 100)
        return seen.value.args

    plain = origin(config(), params())
    assert plain == origin(config(), params())
    others = [
        origin(config(), params(2.0)),
        origin(config(**{"sample.w_text": "9.0"}), params()),
        origin(config(**{"motion.sigma": "0.3"}), params()),
        origin(config(), params(), seed=1),
    ]
    monkeypatch.setitem(randomness.PURPOSES, "sampling", 99)
    others.append(origin(config(), params()))
    assert len({plain, *others}) == 1 + len(others)
