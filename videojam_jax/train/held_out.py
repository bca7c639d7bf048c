"""How well an autoencoder gives back clips it was not trained on, and what they look like."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, UInt8
from ml_collections import FrozenConfigDict
from PIL import Image

from videojam_jax.data import raw_clips
from videojam_jax.data.clip import BadClip
from videojam_jax.data.video_file import gif_bytes, write_mp4
from videojam_jax.errors import UserError
from videojam_jax.files import write_whole
from videojam_jax.models.autoencoders.pixels import from_uint8, to_uint8
from videojam_jax.parallel import distributed
from videojam_jax.parallel.rules import partitioned, replicated
from videojam_jax.sample.generate import fetched, placed
from videojam_jax.train.run_log import RunLog

SHOWN = 4  # clips as files; all are measured


class HeldOut:
    """Clips and flow clips kept from training, beside what comes back of them.

    All processes of a run decode together, and process 0 writes.
    """

    def __init__(
        self,
        config: FrozenConfigDict,
        net,
        source,
        indices: range,
        flow: Callable,
        workdir: Path,
        mesh: Mesh,
    ):
        self._config, self._workdir, self._mesh = config, workdir, mesh
        self._source, self._indices, self._flow = source, indices, flow
        self._clips: dict[str, list[np.ndarray]] = {}
        self._bicubic: dict[str, float] = {}

        def reconstruct(params, video):
            decoded, _, _ = net.apply({"params": params["autoencoder"]}, from_uint8(video))
            return to_uint8(decoded)

        self._reconstruct = jax.jit(
            partitioned(mesh, reconstruct), out_shardings=replicated(mesh)
        )

    def measure(self, params: Any) -> tuple[dict[str, float], dict[str, list[np.ndarray]]]:
        """Mean PSNR of clips and flow clips, in dB, and the reconstructions.

        Beside it the PSNR of making the clips smaller by the compression and larger again,
        `bicubic` (see `down_and_up`).
        """
        self._load()
        found = {
            kind: [self._one(params, clip) for clip in clips] for kind, clips in self._clips.items()
        }
        values = {
            f"held_out_psnr{suffix}": float(np.mean([
                psnr(clip, back) for clip, back in zip(self._clips[kind], found[kind], strict=True)
            ]))
            for kind, suffix in (("clip", ""), ("flow", "_flow"))
        }
        return values | self._bicubic, found

    def show(self, params: Any, step: int, log: RunLog | None) -> None:
        """Measures, says so, and writes some clips beside their reconstructions."""
        values, found = self.measure(params)
        if log is None or not distributed.leader():
            return
        out = self._workdir / "samples" / f"step_{step:08}"
        out.mkdir(parents=True, exist_ok=True)
        fps = self._config.clip.fps
        for i in range(min(SHOWN, len(found["clip"]))):
            # Above the clip, below its flow; on the left as it is, on the right what came back.
            rows = [
                np.concatenate([self._clips[kind][i], found[kind][i]], axis=2)
                for kind in ("clip", "flow")
            ]
            picture = np.concatenate(rows, axis=1)
            scale = max(1, 256 // picture.shape[2])
            write_mp4(out / f"{i:03}.mp4", picture, fps, scale=scale)
            gif = gif_bytes(picture, fps, scale=scale)
            shape = tuple(n * scale for n in picture.shape[1:3])
            log.clip(step, f"reconstructions/{i}", gif, shape)
        write_whole(out / "psnr.json", json.dumps(values, indent=2) + "\n")
        log.scalars(step, values)
        print(
            f"held-out clips: {values['held_out_psnr']:.2f} dB (bicubic "
            f"{values['bicubic_psnr']:.2f}), flow clips {values['held_out_psnr_flow']:.2f} dB "
            f"(bicubic {values['bicubic_psnr_flow']:.2f}); see {out}",
            flush=True,
        )

    def _one(self, params, clip: np.ndarray) -> np.ndarray:
        video = placed(clip[None], replicated(self._mesh))
        return fetched(self._reconstruct(params, video))[0]

    def _load(self) -> None:
        if self._clips:
            return
        self._clips = {"clip": [], "flow": []}
        for index in self._indices:
            try:
                clip = self._source[index]
                flow = raw_clips.pixels(clip, self._flow, self._config.motion.sigma)
            except BadClip as bad:
                print(f"set aside: {bad}", flush=True)
                continue
            self._clips["clip"].append(clip.video)
            self._clips["flow"].append(flow)
        if not self._clips["clip"]:
            raise UserError(
                f"none of the {len(self._indices)} held-out clips can be used; raise "
                "config.reconstruction.held_out"
            )
        compression = self._config.tae.compression
        self._bicubic = {
            f"bicubic_psnr{suffix}": float(
                np.mean([psnr(c, down_and_up(c, compression)) for c in self._clips[kind]])
            )
            for kind, suffix in (("clip", ""), ("flow", "_flow"))
        }


def psnr(video: UInt8[np.ndarray, "t h w p"], back: UInt8[np.ndarray, "t h w p"]) -> float:
    """`10 log10(255^2 / mean squared error)` in dB; clips alike to the bit have 98 dB."""
    error = np.mean((video.astype(np.float64) - back) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-5)))


def down_and_up(
    video: UInt8[np.ndarray, "t h w p"], compression: tuple[int, int, int]
) -> UInt8[np.ndarray, "t h w p"]:
    """The clip made smaller by a compression and larger again, without anything learned.

    Frames: bicubic, antialiased, down by rows and columns and up again. Time: every so many
    frames become their mean, and frames are interpolated between the means' centres.
    """
    frames, rows, columns = compression
    t, h, w, _ = video.shape
    small = (max(1, w // columns), max(1, h // rows))
    resized = np.stack([
        np.asarray(
            Image.fromarray(frame)
            .resize(small, Image.Resampling.BICUBIC)
            .resize((w, h), Image.Resampling.BICUBIC)
        )
        for frame in video
    ]).astype(np.float32)
    groups = [resized[i : i + frames] for i in range(0, t, frames)]
    centres = [i * frames + (len(group) - 1) / 2 for i, group in enumerate(groups)]
    means = np.stack([group.mean(axis=0) for group in groups])
    return np.round(_between(means, centres, t)).clip(0, 255).astype(np.uint8)


def _between(
    means: Float[np.ndarray, "n h w p"], centres: list[float], length: int
) -> Float[np.ndarray, "t h w p"]:
    """Linear between the means, constant beyond the first and the last."""
    places = np.interp(np.arange(length), centres, np.arange(len(centres)))
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, len(centres) - 1)
    part = (places - low)[:, None, None, None].astype(np.float32)
    return (1 - part) * means[low] + part * means[high]
