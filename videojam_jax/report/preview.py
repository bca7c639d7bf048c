"""`videojam prepare --preview N`: what would be prepared, as a page, before anything is.

A few clips of the source beside their flow and what the autoencoder makes of both: whether
captions and crops are right, whether the flow follows the motion, whether the autoencoder
keeps it.
"""

from pathlib import Path

import numpy as np
from ml_collections import FrozenConfigDict

from videojam_jax.config import frozen, preparing
from videojam_jax.data.clip import BadClip, Clip
from videojam_jax.data.encode import Encoder
from videojam_jax.errors import UserError
from videojam_jax.models.autoencoders.precomputed import Precomputed
from videojam_jax.motion import flow_rgb
from videojam_jax.motion.latent import MotionCode
from videojam_jax.report.page import FLOW_COLOURS, ClipGrid, Section, write_report
from videojam_jax.report.table import Quantity, QuantityTable
from videojam_jax.sample.clips import to_flow, to_video
from videojam_jax.train.held_out import psnr

LABELS = ("clip", "its flow", "reconstruction", "reconstructed flow")


def preview(config: FrozenConfigDict, source, count: int, out: Path) -> list[Path]:
    """Writes `preview.html` (with its Markdown and JSON) into `out`; the files.

    Args:
      source: of the config, see `preparing.source`.
      count: clips to show, spread evenly over the source.

    Raises:
      UserError: the config's autoencoder cannot encode, none of the clips can be used, or
        there are none.
    """
    if count < 1 or not len(source):
        raise UserError(f"a preview of {count} clips of {len(source)}: nothing to show")
    autoencoder = frozen.autoencoder(config)
    if isinstance(autoencoder, Precomputed):
        autoencoder.encode(None)
    device_flow, code = frozen.device_flow(config), preparing.motion_code(config)
    count = min(count, len(source))
    indices = [i * len(source) // count for i in range(count)]
    loaded, bad = _load(config, source, indices)
    if not loaded:
        raise UserError(
            f"none of the {count} clips that were tried can be used, the first, "
            f"{bad[0].source_id}, because: {bad[0].reason}"
        )
    rows, quality, encoded = [], {"clips": [], "flow clips": []}, []
    # The captions need no encoding here.
    with Encoder(autoencoder, None, device_flow, code, 1) as encoder:
        for clip, flow in loaded:
            latents, field = encoder.clip(clip, flow)
            if field is None:
                bad.append(BadClip(clip.source_id, "its flow or its latent is not finite"))
                continue
            shown, of_clip, of_flow = _shown(code, autoencoder, clip, field, latents)
            encoded.append(code.to_encoded(latents[1].astype(np.float32)))
            quality["clips"].append(of_clip)
            quality["flow clips"].append(of_flow)
            speed = np.hypot(field[..., 0], field[..., 1])
            rows.append((
                f"{clip.source_id}: {clip.caption or '(no caption)'}. PSNR {of_clip:.1f} dB, of "
                f"the flow clip {of_flow:.1f} dB; flow {speed.mean():.2f} pixels a frame in the "
                f"mean, {speed.max():.2f} at most",
                shown,
            ))
    if not rows:
        raise UserError(f"no clip of {count} has a finite flow and latent: are the weights right?")
    psnrs = Quantity(
        "PSNR of what the autoencoder gives back",
        {name: float(np.mean(values)) for name, values in quality.items()},
        unit="dB",
        meaning="mean over the clips below, 8 bits a channel",
    )
    facts = {
        "source": f"{source.describe()['name']}, {len(source):,} clips",
        "clips": f"{config.clip.frames} frames of {config.clip.height} x {config.clip.width} "
        f"at {config.clip.fps:g} a second",
        "flow": config.motion.flow,
        "autoencoder": config.autoencoder.name,
        "latent": " x ".join(map(str, latents[0].shape)),
        "set aside while listing": len(source.set_aside),
        "to bring the motion latents to zero mean and unit variance": _scaling(encoded),
    }
    return write_report(
        out / "preview.html",
        title="What would be prepared",
        sections=[
            Section("Measured", parts=[QuantityTable("", [psnrs])]),
            Section("Clips", FLOW_COLOURS, [ClipGrid("", LABELS, rows, config.clip.fps)]),
            Section("How this was made", parts=[facts]),
            Section("Notes", parts=[f"Set aside: {clip.source_id}: {clip.reason}" for clip in bad]),
        ],
    )


def _scaling(encoded: list[np.ndarray]) -> str:
    """The keys of `MotionCode`, as measured on encoded flow clips `[t, h, w, c]`."""
    found = np.stack(encoded)
    axes = tuple(range(found.ndim - 1))
    moments = {"latent_mean": found.mean(axes), "latent_std": found.std(axes)}
    return ", ".join(
        f"config.motion.{name} = ({', '.join(f'{value:.3g}' for value in values)})"
        for name, values in moments.items()
    )


def _load(
    config: FrozenConfigDict, source, indices: list[int]
) -> tuple[list[tuple[Clip, np.ndarray | None]], list[BadClip]]:
    flow = preparing.flow_estimator(config)
    loaded, bad = [], []
    for index in indices:
        try:
            clip = source[index]
            loaded.append((clip, flow(clip) if flow else None))
        except BadClip as one:
            bad.append(one)
    return loaded, bad


def _shown(code: MotionCode, autoencoder, clip: Clip, field: np.ndarray, latents):
    """The four tiles of a row, and the PSNR of the two reconstructions."""
    flow_clip = flow_rgb.flow_clip_uint8(field, code.sigma)
    video, motion = (latent[None].astype(np.float32) for latent in latents)
    back = to_video(video, autoencoder)[0]
    _, flow_back = to_flow(motion, autoencoder, code)
    found = psnr(clip.video, back), psnr(flow_clip, flow_back[0])
    return (clip.video, flow_clip, back, flow_back[0]), *found
