"""What the reports of all experiments say alike: names, how it was made, how far to trust it."""

import platform

import jax
from ml_collections import FrozenConfigDict

from videojam_jax.checkpoints.read import latest_step
from videojam_jax.config import modelling, sampling
from videojam_jax.experiments import sampling_stages
from videojam_jax.experiments.setting import Setting
from videojam_jax.parallel.parameters import abstract_params
from videojam_jax.report import curves
from videojam_jax.report.floor import against_floors
from videojam_jax.report.page import Section
from videojam_jax.train.program import parameter_count

# Of runs and of the rules of the paper's Table 3.
LABELS = {
    "base": "base (DiT)",
    "control": "control (DiT, trained on)",
    "videojam": "VideoJAM",
    "no_text_guidance": "w/o text guidance",
    "no_inner_guidance": "w/o Inner-Guidance",
    "no_optical_flow": "w/o optical flow",
    "ip2p": "IP2P guidance",
    "videojam_without_motion": "VideoJAM, motion input dropped",
    "real": "real clips",
    "shuffled": "real clips, frames shuffled",
}

# To be said where steps of the sampler are counted, as the paper's figures 3 and 8 do.
STEPS = (
    "Steps are the sampler's, counted from the noise: step i begins at the i-th time of its "
    "schedule, and the first n steps end where step n begins."
)


def at_step(config: FrozenConfigDict, step: int) -> str:
    """A step of a run's sampler and the time at which it begins: "step 60 of 100, t = 0.096"."""
    return f"step {step} of {config.sample.steps}, t = {sampling.times(config)[step]:.3f}"


def first_steps(config: FrozenConfigDict, count: int) -> str:
    """The first steps of a run's sampler, and their times: "60 of 100 steps (t < 0.096)"."""
    return f"{count} of {config.sample.steps} steps (t < {sampling.times(config)[count]:.3f})"


def losses(setting: Setting) -> Section:
    """The losses of all trainings, as far as runs have a log, and what they say of learning."""
    drawn = []
    for seed in setting.config.seeds:
        for kind in setting.kinds:
            path = setting.run_folder(kind, seed) / "metrics.jsonl"
            if path.is_file() and seed == setting.seed_of(kind, seed):
                name = LABELS[kind] + (f", seed {seed}" if len(setting.config.seeds) > 1 else "")
                drawn.append(curves.LoggedRun(name, curves.read_metrics(path)))
    return Section("Losses in training", parts=[*curves.draw(drawn), *against_floors(drawn)])


def making(setting: Setting) -> Section:
    """How an experiment was made, as names and values."""
    seeds = tuple(setting.config.seeds)
    facts: dict[str, object] = {"experiment": setting.name}
    for kind in setting.kinds:
        config = setting.run_config(kind, seeds[0])
        size = parameter_count(abstract_params(modelling.init(config), modelling.mesh(config)))
        steps = latest_step(setting.run_folder(kind, seeds[0])) or 0
        facts[LABELS[kind]] = (
            f"{size:,} parameters, {steps:,} steps of "
            f"{config.train.batch_size} clips, {setting.config.runs[kind]}"
        )
    config = setting.run_config("videojam", seeds[0])
    clip, sample = config.clip, config.sample
    facts |= {
        "clips": f"{clip.frames} frames of {clip.height} x {clip.width}, from {config.source.name}",
        "measured": f"{len(sampling_stages.captions(setting))} clips for each training seed",
        "training seeds": ", ".join(map(str, seeds)),
        "sampler": f"{sample.steps} {sample.solver} steps, {sample.schedule} schedule; w1 = "
        f"{sample.w_text}, w2 = {sample.w_motion} in the first "
        f"{sampling.inner_steps(config)} steps",
        "seed of the noise": setting.config.sample_seed,
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "versions": f"Python {platform.python_version()}, jax {jax.__version__}",
    }
    return Section("How this was made", parts=[facts])


def trust(setting: Setting, *more: str) -> Section:
    """What the numbers of an experiment can and cannot say, in words."""
    seeds, clips = len(setting.config.seeds), len(sampling_stages.captions(setting))
    words = [
        f"Intervals are of 95 %, over {clips} clips"
        + (
            " of one training. Another training of the same config would give other numbers, by "
            "an amount that one seed cannot show: take a difference as shown for these "
            "checkpoints, not for the method. Name more seeds (config.seeds) to learn about it."
            if seeds == 1
            else f" and {seeds} trainings (crossed: the clip's and the training's share of the "
            "spread are added)."
        )
    ]
    config = setting.run_config("videojam", setting.config.seeds[0])
    if config.source.name == "simulated":
        words.append(
            f"The models are small ({_size(setting)} parameters, {config.train.steps:,} steps, "
            f"clips of {config.clip.frames} x {config.clip.height} x {config.clip.width}) and see "
            "simulated bodies alone; the paper fine-tunes 4 and 30 billion parameters that were "
            "trained on real videos. What holds here need not hold there, and the other way round."
        )
    if len(setting.kinds) == 3 and not setting.is_given("control"):
        base, control, joint = (setting.run_config(k, setting.config.seeds[0]) for k in
                                ("base", "control", "videojam"))  # fmt: skip
        fair = control.train.steps == joint.train.steps and (
            control.train.batch_size == joint.train.batch_size
        )
        words.append(
            f"Control and VideoJAM both start from the base ({base.train.steps:,} steps) and go on "
            + (
                f"for {joint.train.steps:,} steps with the same clips in the same order; the "
                "comparison of these two is the fair one."
                if fair
                else "for different lengths; no comparison of these runs is quite fair."
            )
        )
    return Section("How far to trust this", parts=[*words, *more])


def _size(setting: Setting) -> str:
    config = setting.run_config("videojam", setting.config.seeds[0])
    params = abstract_params(modelling.init(config), modelling.mesh(config))
    return f"{parameter_count(params) / 1e6:.1f} million"
