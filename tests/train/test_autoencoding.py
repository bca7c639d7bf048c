"""A temporal autoencoder in training: its step, its checkpoints, a run killed and resumed."""

import dataclasses
import functools
import itertools
import json
import re
import shutil

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_run
import tiny_tae
from tiny_run import leaves

from videojam_jax.checkpoints.read import open_existing, read_json
from videojam_jax.config import frozen, loading, modelling, preparing
from videojam_jax.data import raw_clips
from videojam_jax.data.clip import BadClip
from videojam_jax.data.video_file import read_video
from videojam_jax.errors import UserError
from videojam_jax.models.autoencoders.discriminator import discriminator_loss, generator_loss
from videojam_jax.models.autoencoders.reconstruction import (
    ReconstructionOptions,
    psnr,
    reconstruction_loss,
)
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.randomness import key_for
from videojam_jax.train.autoencoder_step import make_step
from videojam_jax.train.autoencoding import Autoencoding
from videojam_jax.train.state import TrainState

STEPS = 6

# --- one step ---------------------------------------------------------------------------

LATENT, RATE, START = 2, 0.1, 10
OPTIONS = ReconstructionOptions(adversarial=0.7, adversarial_start=START, kl=0.1, gradient_scales=1)


class Net(nn.Module):
    """A linear autoencoder of single pixels, as `TaeNet` is called."""

    def setup(self):
        self.down, self.up = nn.Dense(2 * LATENT), nn.Dense(3)

    def encode_moments(self, video):
        return jnp.split(self.down(video), 2, axis=-1)

    def __call__(self, video, noise=None):
        mean, log_variance = self.encode_moments(video)
        latent = mean if noise is None else mean + jnp.exp(log_variance / 2) * noise
        return self.up(latent), mean, log_variance


class Critic(nn.Module):
    @nn.compact
    def __call__(self, video):
        return nn.Dense(1)(nn.tanh(nn.Dense(4)(video)))[..., 0]


def batch(flow_rows=(1,), rows=4):
    rng = np.random.default_rng(5)
    return {
        "video": jnp.asarray(rng.integers(0, 256, (rows, 2, 4, 4, 3), dtype=np.uint8)),
        "is_flow": jnp.isin(jnp.arange(rows), jnp.array(flow_rows)),
    }


def fresh(step=0, critic=True):
    video = jnp.zeros((1, 1, 4, 4, 3))
    params = {"autoencoder": Net().init(jax.random.key(1), video)["params"]}
    if critic:
        params["discriminator"] = Critic().init(jax.random.key(2), video)["params"]
    state = optax.sgd(RATE).init(params)
    return TrainState(jnp.int32(step), params, params, state)


@functools.cache
def compiled(options, critic, seed):
    critic = Critic() if critic else None
    step = make_step(Net(), critic, optax.sgd(RATE), options, seed=seed, ema_decay=0.9)
    return jax.jit(step)


def stepped(state, options=None, critic=True, seed=3):
    """`(the gradient, from how the parameters moved; metrics; the state after)`."""
    after, metrics = compiled(options or OPTIONS, critic, seed)(state, batch())
    moved = jax.tree.map(lambda a, b: (a - b) / RATE, state.params, after.params)
    return moved, metrics, after


assert_close = functools.partial(chex.assert_trees_all_close, rtol=1e-4, atol=1e-6)
assert_same = chex.assert_trees_all_equal


def pixels():
    return batch()["video"].astype(jnp.float32) / 127.5 - 1


def through(params, step=0, seed=3):
    """What the step should see: decoded with the noise of this seed and step."""
    key = jax.random.fold_in(key_for("autoencoder_training", seed), step)
    noise = jax.random.normal(key, (4, 2, 4, 4, LATENT))
    return Net().apply({"params": params}, pixels(), noise)


def test_the_discriminator_moves_by_its_own_loss_whatever_weight_it_has():
    louder = dataclasses.replace(OPTIONS, adversarial=50.0)
    moved = [stepped(fresh(START), options)[0] for options in (OPTIONS, louder)]
    assert_same(moved[0]["discriminator"], moved[1]["discriminator"])
    differ = jax.tree.map(lambda a, b: np.abs(a - b).max(), *[m["autoencoder"] for m in moved])
    assert max(jax.tree.leaves(differ)) > 0.1, "the autoencoder does see the weight"

    state = fresh(START)
    fake, *_ = through(state.params["autoencoder"], START)

    def own_loss(params):
        judged = [Critic().apply({"params": params}, video) for video in (pixels(), fake)]
        return discriminator_loss(*judged)

    wanted = jax.jit(jax.grad(own_loss))(state.params["discriminator"])
    assert_close(moved[0]["discriminator"], wanted)


def test_the_autoencoder_moves_by_its_losses_and_not_by_the_discriminators_own():
    state = fresh(START)
    moved, metrics, _ = stepped(state)

    def its_loss(params):
        decoded, mean, log_variance = through(params, START)
        judged = Critic().apply({"params": state.params["discriminator"]}, decoded)
        total, _ = reconstruction_loss(pixels(), decoded, mean, log_variance, OPTIONS)
        return total + 0.7 * generator_loss(judged)

    value, gradient = jax.jit(jax.value_and_grad(its_loss))(state.params["autoencoder"])
    assert_close(moved["autoencoder"], gradient)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    parts = ("l1", "gradient", "kl", "outlier", "adversarial", "discriminator")
    assert set(parts) < set(metrics)


def test_before_its_start_the_discriminator_learns_and_has_no_say():
    before, metrics, _ = stepped(fresh(START - 1))
    without, _, _ = stepped(fresh(START - 1, critic=False), critic=False)
    assert_close(before["autoencoder"], without["autoencoder"], atol=1e-6)
    assert max(np.abs(x).max() for x in jax.tree.leaves(before["discriminator"])) > 1e-3
    assert float(metrics["adversarial"]) != 0, "told all the same"

    at_start, _, _ = stepped(fresh(START))
    without, _, _ = stepped(fresh(START, critic=False), critic=False)
    differ = jax.tree.map(
        lambda a, b: np.abs(a - b).max(), at_start["autoencoder"], without["autoencoder"]
    )
    assert max(jax.tree.leaves(differ)) > 1e-2


def test_psnr_of_clips_and_of_flow_clips_are_those_of_their_rows():
    state = fresh()
    _, metrics, _ = stepped(state)
    decoded, *_ = through(state.params["autoencoder"])
    each = np.asarray(psnr(pixels(), decoded))
    np.testing.assert_allclose(metrics["psnr"], each[[0, 2, 3]].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["psnr_flow"], each[1], rtol=1e-5)


def test_without_flow_clips_there_is_no_psnr_of_them():
    step = make_step(
        Net(), None, optax.sgd(RATE), OPTIONS, seed=0, ema_decay=0.9, has_flow=False
    )
    _, metrics = jax.eval_shape(step, fresh(critic=False), batch(flow_rows=()))
    assert "psnr" in metrics and "psnr_flow" not in metrics


def test_randomness_is_a_function_of_seed_and_step():
    first, again = (stepped(fresh(4)) for _ in range(2))
    assert_same(first[2], again[2])
    losses = {
        float(stepped(fresh(step), seed=seed)[1]["loss"])
        for step, seed in ((4, 3), (5, 3), (4, 4))
    }
    assert float(first[1]["loss"]) in losses and len(losses) == 3


def test_a_step_counts_and_averages_the_parameters():
    state = fresh()
    gradient, metrics, after = stepped(state)
    assert int(after.step) == 1
    norm = np.sqrt(sum(np.square(x).sum() for x in jax.tree.leaves(gradient)))
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-4)
    # The first decay is 1 / 10, see `optimizer.update_ema`.
    wanted = jax.tree.map(lambda e, p: 0.1 * e + 0.9 * p, state.params, after.params)
    assert_close(after.ema_params, wanted)


# --- the task ---------------------------------------------------------------------------


def config(*arguments):
    return loading.load(tiny_tae.CONFIG, tiny_tae.overrides(*arguments))


def task(tmp_path, *arguments):
    mesh = make_mesh({"data": 1}, jax.devices()[:1])
    return Autoencoding(config(*arguments), tmp_path, mesh)


def test_a_great_gradient_of_the_discriminator_does_not_shrink_the_autoencoders_step(tmp_path):
    made = task(tmp_path, "--config.reconstruction.adversarial=0.1")
    params = {name: {"w": jnp.ones((2, 2))} for name in ("autoencoder", "discriminator")}

    def updates(factor):
        gradient = {
            "autoencoder": {"w": jnp.full((2, 2), 0.3)},
            "discriminator": {"w": jnp.full((2, 2), 0.3 * factor)},
        }
        state, found = made.optimizer.init(params), []
        for _ in range(3):
            update, state = made.optimizer.update(gradient, state, params)
            found.append(update["autoencoder"])
        return found

    assert_same(updates(1e4), updates(1.0))


def test_held_out_clips_are_the_last_and_never_trained_on(tmp_path):
    made = task(tmp_path)
    assert made.clips == 12
    source = preparing.source(config())
    held_out = {source[i].video.tobytes() for i in (12, 13)}
    seen = set()
    for one in itertools.islice(made.batches(0), 12):
        seen |= {row.tobytes() for row in one["video"][~one["is_flow"]]}
    assert len(seen) == 12 and not seen & held_out


def test_batches_go_on_from_a_step(tmp_path):
    made = task(tmp_path)
    whole = list(itertools.islice(made.batches(0), 5))
    for found, wanted in zip(made.batches(3), whole[3:]):
        for name in wanted:
            np.testing.assert_array_equal(found[name], wanted[name])


def test_a_clip_that_cannot_be_used_is_told_and_counted_once(tmp_path, capsys):
    made = task(tmp_path)
    source, real = made._source, type(made._source).__getitem__

    def some(self, index):
        if index in (2, 3):
            raise BadClip(f"clip {index}", "truncated")
        return real(self, index)

    # Its class stays what it is: threads of other tests may still read theirs.
    source.__class__ = type("Some", (type(source),), {"__getitem__": some})
    assert made.skipped() == 0
    # From the beginning twice, as for the latents' scale.
    for _ in range(2):
        batches = made.batches(0)
        list(itertools.islice(batches, 6))
        batches.close()
    assert made.skipped() == 2
    told = sorted(capsys.readouterr().out.splitlines())
    assert told == ["set aside: clip 2: truncated", "set aside: clip 3: truncated"]


# --- a run ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_tae.trained(tmp_path_factory)


@pytest.fixture(scope="module")
def straight(run):
    return run[0]


def rows_of(workdir):
    """The training's metrics, without the held-out clips' lines."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    return [row for row in rows if "loss" in row]


def latent_of(workdir, step):
    manager = open_existing(workdir)
    found = read_json(manager, step, "latent")
    manager.close()
    return found


def test_a_run_tells_what_it_is_and_how_well_clips_and_flow_clips_come_back(run):
    workdir, said = run
    title = r"temporal autoencoder of 2 x 2 x 2: [\d,]+ parameters, 12 clips, batch 4, 6 steps"
    assert re.search(title, said), said
    assert re.search(r"step 6/6 .*\(PSNR \d+\.\d+, flow clips \d+\.\d+ dB\).*frames/s/device", said)
    assert re.search(r"held-out clips: \d+\.\d+ dB \(bicubic \d+\.\d+\), flow clips \d+", said)
    assert [row["step"] for row in rows_of(workdir)] == list(range(1, STEPS + 1))
    loss = [row["loss"] for row in rows_of(workdir)]
    assert min(loss) < 0.8 * loss[0], loss  # steps of images and of clips differ


def test_a_run_writes_checkpoints_with_what_normalises_its_latents(straight):
    folders = sorted(path.name for path in (straight / "checkpoints").iterdir())
    assert folders == ["3", "6"]
    items = {"params", "ema_params", "rest", "architecture", "latent"}
    assert items <= {path.name for path in (straight / "checkpoints" / "6").iterdir()}
    first, last = (latent_of(straight, step) for step in (3, 6))
    assert last["clips"] == 4 and len(last["shift"]) == len(last["scale"]) == tiny_tae.CHANNELS
    assert first != last, "measured of each checkpoint's own parameters"


def test_a_run_s_average_lags_behind_its_parameters(straight):
    saved = leaves(straight, STEPS)
    pairs = [
        (array, saved[("params", *name[1:])])
        for name, array in saved.items()
        if name[0] == "ema_params"
    ]
    assert max(np.abs(one - other).max() for one, other in pairs) > 1e-4


def test_the_latents_that_others_read_have_mean_0_and_standard_deviation_1(straight):
    given = [*tiny_tae.READER, f"--config.autoencoder.weights={straight}"]
    reader = loading.load(
        f"{tiny_run.CONFIG}:base",
        dict(word.removeprefix("--config.").split("=") for word in (*tiny_run.TINY, *given)),
    )
    autoencoder = frozen.autoencoder(reader)
    trained = config()
    clips = raw_clips.batches(
        preparing.source(trained), flow=lambda clip: clip.flow, sigma=0.15, seed=trained.seed,
        batch_size=4, clips=12,
    )  # fmt: skip
    video = next(clips)["video"].astype(np.float32) / 127.5 - 1
    clips.close()
    latent = np.asarray(jax.jit(type(autoencoder).encode)(autoencoder, video), np.float64)
    assert latent.shape == (4, *modelling.latent_shape(reader))
    mean, std = latent.mean(axis=(0, 1, 2, 3)), latent.std(axis=(0, 1, 2, 3))
    print(f"means {mean}, standard deviations {std}")
    # The run's compiler hurried, and this one did not: rounding apart.
    np.testing.assert_allclose(mean, 0, atol=1e-3)
    np.testing.assert_allclose(std, 1, atol=1e-3)


def test_a_run_shows_held_out_clips_beside_what_came_back(straight):
    out = straight / "samples" / "step_00000006"
    assert sorted(path.name for path in out.iterdir()) == ["000.mp4", "001.mp4", "psnr.json"]
    assert read_video(out / "000.mp4").shape == (4, 256, 256, 3)
    values = json.loads((out / "psnr.json").read_text())
    assert all(0 < value < 98 for value in values.values()) and len(values) == 4


# --- what goes wrong --------------------------------------------------------------------


def refused(workdir, *arguments):
    words = [*tiny_tae.words("--workdir", workdir, *arguments)]
    # All devices of the tests.
    words += ["--config.mesh.data=-1", "--config.train.batch_size=8"]
    status, said = tiny_run.here(*words)
    assert status == 2, said
    lines = [line for line in said.splitlines() if "error" in line]
    assert len(lines) == 1 and lines[0].startswith("videojam: error: "), said
    return lines[0]


def test_a_checkpoint_of_another_architecture_is_named(straight, tmp_path):
    shutil.copytree(straight, tmp_path / "copy")
    error = refused(tmp_path / "copy", "--config.tae.width=16")
    assert "another architecture: tae.width is 8 there and 16 in this config" in error
    error = refused(tmp_path / "copy", "--config.reconstruction.adversarial=0.1")
    assert "discriminator is 0 there and 64 in this config" in error


def test_a_run_to_start_from_is_checked(straight, tmp_path):
    error = refused(
        tmp_path / "new", f"--config.train.init_from={straight}", "--config.tae.blocks=2"
    )
    assert "another architecture: tae.blocks is 1 there and 2" in error
    error = refused(tmp_path / "new", "--config.train.init_from=../nowhere")
    assert "nowhere: no checkpoints there" in error


def test_a_source_of_no_more_clips_than_are_kept_names_both_keys(tmp_path):
    error = refused(tmp_path, "--config.source.clips=2")
    assert "2 clips" in error and "config.reconstruction.held_out = 2" in error


def test_a_batch_too_small_for_its_share_of_flow_clips_is_an_error(tmp_path):
    shared = "--config.reconstruction.flow_share=0.125"
    with pytest.raises(UserError, match="flow_share = 0.125 of a batch of 4 is not one flow clip"):
        task(tmp_path, shared)
    task(tmp_path, shared, "--config.train.batch_size=8")
    task(tmp_path, "--config.reconstruction.flow_share=0.0")


def test_mesh_axes_that_would_divide_no_parameter_are_refused(tmp_path):
    error = refused(tmp_path, "--config.mesh.fsdp=2")
    assert "config.mesh.fsdp = 2: an autoencoder's parameters are not divided" in error


def test_clips_that_do_not_divide_into_the_compression_are_an_error(tmp_path):
    error = refused(tmp_path, "--config.clip.height=17")
    assert "17 x 16" in error and "multiples of 2" in error


# --- killed, resumed, by several processes ----------------------------------------------


def train(*arguments, timeout=280):
    """A run in a process of its own; what it printed."""
    status, said = tiny_run.run(tiny_tae.command(*arguments), timeout)
    assert status == 0, said
    return said


def assert_same_run(one, other, step=STEPS):
    a, b = leaves(one, step), leaves(other, step)
    assert a.keys() == b.keys() and len(a) > 50
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], err_msg=str(name))
    assert latent_of(one, step) == latent_of(other, step)


@pytest.mark.multiprocess
def test_killed_and_resumed_equals_uninterrupted_to_the_bit(tmp_path):
    # Not the tests' own: with its eight devices, sums of a convolution have other parts.
    straight = tmp_path / "straight"
    train("--workdir", straight)
    workdir = tmp_path / "killed"
    endless = ["--config.train.steps=100000", "--config.train.keep=100000",
               "--config.train.sample_every=100000"]  # fmt: skip
    tiny_run.killed_after(3, tiny_tae.command("--workdir", workdir, *endless), workdir)
    said = train("--workdir", workdir)
    assert re.search(r"going on from .*checkpoints/3\n", said), said
    assert_same_run(straight, workdir)
    timed = {"time", "steps_per_second", "frames_per_second_per_device", "data_wait", "host_memory_gb"}
    for found, wanted in zip(rows_of(workdir), rows_of(straight), strict=True):
        assert {k: v for k, v in found.items() if k not in timed} == {
            k: v for k, v in wanted.items() if k not in timed
        }
    shown = "samples/step_00000006/psnr.json"
    assert (workdir / shown).read_text() == (straight / shown).read_text()


@pytest.mark.multiprocess
def test_two_processes_give_what_one_gives(straight, tmp_path):
    workdir = tmp_path / "two"
    command = tiny_tae.command("--workdir", workdir, "--config.mesh.data=-1")
    ended = tiny_run.ends(tiny_run.start_together(2, command))
    assert [status for status, _ in ended] == [0, 0], ended
    for name in ("loss", "l1", "gradient", "kl", "psnr", "psnr_flow", "grad_norm"):
        np.testing.assert_allclose(
            [row[name] for row in rows_of(workdir)],
            [row[name] for row in rows_of(straight)],
            rtol=1e-4, err_msg=name,
        )  # fmt: skip
    found, wanted = latent_of(workdir, STEPS), latent_of(straight, STEPS)
    assert found["clips"] == wanted["clips"]
    for name in ("shift", "scale"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-2, atol=1e-3)
    shown = "samples/step_00000006/psnr.json"
    values = [json.loads((one / shown).read_text()) for one in (workdir, straight)]
    assert values[0] == pytest.approx(values[1], abs=0.05)


@pytest.mark.multiprocess
def test_a_run_starts_from_the_averaged_parameters_of_another(straight, tmp_path):
    workdir = tmp_path / "second"
    said = train(
        "--workdir", workdir, f"--config.train.init_from={straight}", "--config.train.steps=1",
        "--config.optimizer.learning_rate=0.0", "--config.train.sample_every=0",
    )  # fmt: skip
    assert re.search(r"starting from .*checkpoints/6 \(averaged parameters\)", said)
    assert not (workdir / "samples").exists()
    before, after = leaves(straight, STEPS), leaves(workdir, 1)
    names = [name for name in before if name[0] == "ema_params"]
    assert len(names) > 20
    for name in names:
        np.testing.assert_array_equal(after[("params", *name[1:])], before[name], err_msg=str(name))


@pytest.mark.multiprocess
def test_a_run_with_a_discriminator_is_resumed_and_read_by_others(tmp_path):
    adversarial = [
        "--workdir", tmp_path / "run", "--config.reconstruction.adversarial=0.1",
        "--config.reconstruction.discriminator_width=4", "--config.reconstruction.image_share=0.5",
        "--config.train.sample_every=0",
    ]  # fmt: skip
    for steps in (3, 5):
        train(*adversarial, f"--config.train.steps={steps}")
    rows = rows_of(tmp_path / "run")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert {"adversarial", "discriminator"} <= rows[0].keys()
    given = [*tiny_tae.READER, f"--config.autoencoder.weights={tmp_path / 'run'}"]
    words = dict(word.removeprefix("--config.").split("=") for word in (*tiny_run.TINY, *given))
    found = frozen.autoencoder(loading.load(f"{tiny_run.CONFIG}:base", words))
    saved = leaves(tmp_path / "run", 5)
    ours = jax.tree_util.tree_flatten_with_path(found.params)[0]
    assert len(ours) > 20
    for path, array in ours:
        name = ("ema_params", "['autoencoder']", *map(str, path))
        np.testing.assert_array_equal(array, saved[name], err_msg=str(name))


# --- as it stands -----------------------------------------------------------------------

BETTER = 3.0  # dB above making the clips smaller and larger again


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tiny_autoencoder_gives_clips_back_better_than_resizing_does(tmp_path):
    command = [*tiny_tae.command()[:3], "train", "--config", tiny_tae.CONFIG]
    status, said = tiny_run.run([*command, "--workdir", tmp_path / "tae"], 1700)
    assert status == 0, said
    shown = sorted((tmp_path / "tae" / "samples").iterdir())[-1]
    values = json.loads((shown / "psnr.json").read_text())
    print(f"{shown.name}: " + ", ".join(f"{k} {v:.2f} dB" for k, v in values.items()))
    assert np.isfinite(values["held_out_psnr_flow"])
    assert values["held_out_psnr"] >= values["bicubic_psnr"] + BETTER, values
