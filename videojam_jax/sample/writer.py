"""From a model and captions to files: sampled batch by batch, decoded and written clip by clip."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ml_collections import FrozenConfigDict

from videojam_jax.checkpoints.builtin import by_bits
from videojam_jax.config import frozen
from videojam_jax.config.schema import Config
from videojam_jax.keys import SAMPLES, tagged
from videojam_jax.parallel.fingerprint import fingerprint
from videojam_jax.randomness import PURPOSES
from videojam_jax.sample.clips import to_video
from videojam_jax.sample.files import SampleFolder, sample_folder
from videojam_jax.sample.generate import make_generate


def make_writer(
    config: FrozenConfigDict, autoencoder: frozen.Autoencoder | None = None
) -> Callable[..., SampleFolder]:
    """`write(out, params, prompts, seed, step, tell)`: a clip for every prompt, in a folder.

    To be called alike by every process of a run; they decode and write a share each.
    `step` is where the parameters are from; `tell(done)` is called with the number of
    samples that are there, first with what an earlier run had finished. `autoencoder` is the
    config's, where it is there already.
    """
    generate = make_generate(config)
    autoencoder = autoencoder or frozen.autoencoder(config)
    shaping = by_bits(tagged(Config, config, SAMPLES))

    def write(
        out: Path,
        params: Any,
        prompts: Sequence[str],
        seed: int,
        step: int,
        tell: Callable[[int], None] = lambda done: None,
    ) -> SampleFolder:
        with sample_folder(
            out,
            prompts,
            motion=config.model.motion,
            fps=config.clip.fps,
            enlarge=config.sample.enlarge,
            about={"step": step, "seed": seed, "sample": config.sample.to_dict()},
            origin=json.dumps([shaping, PURPOSES["sampling"], fingerprint(params)]),
        ) as folder:
            done = set(folder.finished)
            tell(len(done))
            for numbers, latents, motions in generate(params, prompts, seed, folder.finished):
                for row, number in enumerate(numbers):
                    if folder.is_mine(number):
                        both = [latents] if motions is None else [latents, motions]
                        clips = [to_video(each[row : row + 1], autoencoder)[0] for each in both]
                        folder.add(number, *clips)
                done.update(numbers)
                tell(len(done))
        return folder

    return write
