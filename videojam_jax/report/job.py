"""`videojam report`: what the base and VideoJAM learned, beside real clips."""

import platform
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import FrozenConfigDict

from videojam_jax.config import frozen, preparing, sampling
from videojam_jax.config.loading import beside
from videojam_jax.data import loader
from videojam_jax.measure import bodies
from videojam_jax.parallel import distributed
from videojam_jax.report.curves import LoggedRun, draw, read_metrics
from videojam_jax.report.floor import against_floors
from videojam_jax.report.page import FLOW_COLOURS, ClipGrid, Headline, Section, write_report
from videojam_jax.report.table import Quantity, QuantityTable
from videojam_jax.sample.clips import Clips, to_clips
from videojam_jax.sample.generate import make_clips
from videojam_jax.sample.job import trained_params, untrained_params

SHOWN = 8  # rows of the clip grid; all clips are measured


def compare(
    base_config: FrozenConfigDict,
    joint_config: FrozenConfigDict,
    base_run: Path,
    joint_run: Path,
    out: Path,
    clips: int,
    seed: int,
) -> list[Path]:
    """Sample both runs from the captions of `clips` real clips, measure, and write the report.

    The same captions and the same noise go to the base at its random start
    ("untrained"), the trained base, and VideoJAM. All processes of a run sample together;
    process 0 alone measures and writes, and only there are files returned.
    """
    dataset = loader.open_dataset(beside(joint_config.train.dataset, joint_run))
    records = [dataset[i] for i in range(min(clips, len(dataset)))]
    captions = [record["caption"] for record in records]
    base_params, base_step = trained_params(base_config, base_run)
    joint_params, joint_step = trained_params(joint_config, joint_run)
    of_base = make_clips(base_config)  # one program for both of its parameters
    sampled = {
        "untrained": of_base(untrained_params(base_config), captions, seed),
        "base": of_base(base_params, captions, seed),
        "VideoJAM": make_clips(joint_config)(joint_params, captions, seed),
    }
    if not distributed.leader():
        return []
    real = to_clips(
        np.stack([record["video"].astype(np.float32) for record in records]),
        np.stack([record["motion"].astype(np.float32) for record in records]),
        frozen.autoencoder(joint_config),
        preparing.motion_code(joint_config),
    )
    shown = {"real": real, **sampled}
    logs = {"base": base_run / "metrics.jsonl", "VideoJAM": joint_run / "metrics.jsonl"}
    # Weights that come with the package have no log.
    losses = [LoggedRun(name, read_metrics(log)) for name, log in logs.items() if log.is_file()]
    section = joint_config.sample
    facts = {
        "clips measured": len(captions),
        "base": f"{base_step} steps, {base_run}",
        "VideoJAM": f"{joint_step} further steps from the base, {joint_run}",
        "sampler": f"{section.steps} {section.solver} steps, {section.schedule} schedule; "
        f"VideoJAM with w1 = {section.w_text}, w2 = {section.w_motion} in the first "
        f"{sampling.inner_steps(joint_config)}; base with w1 = {base_config.sample.w_text}",
        "seed": seed,
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "versions": f"Python {platform.python_version()}, jax {jax.__version__}",
    }
    grid = _grid(shown, captions, joint_config.clip.fps)
    return write_report(
        out / "report.html",
        title="VideoJAM: appearance and motion in one latent",
        headline=_headline(shown, captions),
        sections=[
            Section("Measured", parts=[QuantityTable("", _measure(shown))]),
            Section("Losses", parts=[*draw(losses), *against_floors(losses)]),
            Section("Clips", f"One row a caption. {FLOW_COLOURS}", [grid]),
            Section("How this was made", parts=[facts]),
            Section("Notes", parts=[UNEVEN]),
        ],
    )


def _measure(shown: dict[str, Clips]) -> list[Quantity]:
    rng = np.random.default_rng(0)

    def shuffled(videos):
        return [video[rng.permutation(len(video))] for video in videos]

    share = bodies.share_with_moving_body
    return [
        Quantity(
            "clips with a moving body",
            {name: share(clips.videos) for name, clips in shown.items()},
            unit="%",
            meaning=MOVING_BODY,
        ),
        Quantity(
            "the same with the frames shuffled",
            {name: share(shuffled(clips.videos)) for name, clips in shown.items()},
            unit="%",
            meaning="the control: what the measure finds in clips whose motion was destroyed",
        ),
    ]


def _headline(shown: dict[str, Clips], captions: Sequence[str]) -> Headline:
    strips = [(name, clips.videos[0]) for name, clips in shown.items()]
    strips.append(("its motion", shown["VideoJAM"].flow_rgbs[0]))
    return Headline(strips, caption=f"“{captions[0]}”")


def _grid(shown: dict[str, Clips], captions: Sequence[str], fps: float) -> ClipGrid:
    labels = ["real", "real flow", "untrained", "base", "VideoJAM", "its predicted flow"]
    rows = []
    for i, caption in list(enumerate(captions))[:SHOWN]:
        clips = [
            shown["real"].videos[i],
            shown["real"].flow_rgbs[i],
            shown["untrained"].videos[i],
            shown["base"].videos[i],
            shown["VideoJAM"].videos[i],
            shown["VideoJAM"].flow_rgbs[i],
        ]
        rows.append((caption, clips))
    return ClipGrid("", labels, rows, fps)


UNEVEN = (
    "VideoJAM had more training steps than the base it started from, so this page shows "
    "that both work; it is no comparison between them."
)
MOVING_BODY = (
    "share of clips in which a saturated body of nearly constant colour and size can be followed "
    "through at least three quarters of the frames while it moves"
)
