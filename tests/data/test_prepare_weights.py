"""`videojam prepare` of real video files with models that have weights: killed, resumed, used.

Real processes. The weights are those of an autoencoder that was trained for some steps, and
random ones of RAFT.
"""

import json
import re
import signal

import jax
import numpy as np
import pytest
import tiny_run
import tiny_tae
from tiny_clips import digest

from videojam_jax.checkpoints.write import save_params
from videojam_jax.config import frozen, loading
from videojam_jax.convert import weights
from videojam_jax.data.loader import open_dataset
from videojam_jax.data.video_file import read_video, write_mp4

pytestmark = pytest.mark.multiprocess

VIDEOS, CLIPS, FPS = 5, 10, 6.0  # two clips in each
WORDS = ("to the right", "down", "größer", "", "up")

RAFT = [
    "--config.motion.flow=raft", "--config.motion.raft.updates=2",
    "--config.motion.raft.size=small",
]  # fmt: skip

# `videojam`, killed when `FUNCTION` is called for the time number COUNT.
KILLED = """
import os, signal
from videojam_jax.data import encode, shards

function, calls = FUNCTION, []

def run_or_die(*arguments):
    calls.append(arguments)
    if len(calls) == COUNT:
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*arguments)

FUNCTION = run_or_die
"""
# Batches hold two clips, shards four: amid the second shard, whose batches are on the devices
# as the fifth is given to them; and where the second is whole but not noted yet.
MOMENTS = {"amid a shard": ("encode.Encoder._start", 5), "unnoted": ("shards.write_note", 2)}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder of files of a body that moves over a textured ground, one of them broken."""
    folder = tmp_path_factory.mktemp("videos")
    ground = np.random.default_rng(0).integers(60, 140, (64, 64, 3), dtype=np.uint8)
    for number in range(VIDEOS):
        frames = np.repeat(ground[None], 8, axis=0)
        for i, frame in enumerate(frames):
            x = 4 + 4 * i + number
            frame[8 + 8 * number : 24 + 8 * number, x : x + 16] = (230, 40, 30 * number)
        write_mp4(folder / f"{number}.mp4", frames, FPS)
        (folder / f"{number}.txt").write_text(f"a square moves {WORDS[number]}")
    (folder / "broken.mp4").write_bytes(b"no video at all" * 40)
    return folder


@pytest.fixture(scope="module")
def tae(tmp_path_factory):
    return tiny_tae.trained(tmp_path_factory)[0]


def words(videos, *arguments):
    of_simulated = ("--config.source.", "--config.prepare.")
    tiny = [word for word in tiny_run.TINY if not word.startswith(of_simulated)]
    return [
        "prepare", "--config", f"{tiny_run.CONFIG}:base", *tiny,
        "--config.source.name=folder", f"--config.source.path={videos}",
        "--config.prepare.clips_per_shard=4", "--config.prepare.batch_size=2",
        *map(str, arguments),
    ]  # fmt: skip


def job(*given):
    status, said = tiny_run.run([*tiny_run.CLI, *given], 280)
    assert status == 0, said
    return said


def killed(moment, *given):
    function, count = MOMENTS[moment]
    program = KILLED.replace("FUNCTION", function).replace("COUNT", str(count))
    status, said = tiny_run.run(tiny_run.command_after(program, [*tiny_run.CLI, *given]), 280)
    assert status == -signal.SIGKILL, said


def by_kind(kind, tae):
    reader = [*tiny_tae.READER, f"--config.autoencoder.weights={tae}"]
    return {
        "tae": ["--config.motion.flow=dis", *reader],
        "raft": [*RAFT, "--config.motion.raft.weights=random"],
    }[kind]


@pytest.fixture(scope="module")
def whole(videos, tae, tmp_path_factory):
    """For each kind a folder that one run prepared without a break, and what that printed."""
    made = {}

    def prepared(kind):
        if kind not in made:
            out = tmp_path_factory.mktemp("whole") / "clips"
            made[kind] = out, job(*words(videos, "--workdir", out, *by_kind(kind, tae)))
        return made[kind]

    return prepared


def finite(out):
    """The prepared clips, after a look that all their numbers are some."""
    dataset = open_dataset(out)
    for i in range(len(dataset)):
        for name in ("video", "motion"):
            assert np.isfinite(dataset[i][name].astype(np.float32)).all()
    return dataset


@pytest.mark.parametrize("kind", ["tae", "raft"])
def test_files_are_prepared_with_weights_and_the_run_says_what_it_did(whole, kind, tae):
    out, said = whole(kind)
    assert f"{CLIPS} clips prepared, 1 set aside" in said
    assert re.search(r"throughput: \d+\.\d clips/s .* devices waited \d+% of the time", said), said
    dataset = finite(out)
    assert len(dataset) == CLIPS
    assert dataset.latent_shape == {"tae": (2, 8, 8, 4), "raft": (4, 4, 4, 48)}[kind]
    assert [one["source"] for one in dataset.manifest["set_aside"]["clips"]] == ["broken.mp4"]
    (word,) = dataset.manifest["settings"]["weights"]
    assert re.fullmatch(r"[0-9a-f]{16}", word)
    assert str(tae) not in (out / "manifest.json").read_text()
    # The bodies move, and so the motion is not that of a clip at rest.
    motions = [dataset[i]["motion"].astype(np.float32) for i in range(CLIPS)]
    assert min(float(motion.std()) for motion in motions) > 1e-3


@pytest.mark.parametrize(
    ("kind", "moment"), [("tae", "amid a shard"), ("raft", "amid a shard"), ("tae", "unnoted")]
)
def test_killed_and_resumed_has_the_bytes_of_an_undisturbed_run(
    whole, videos, tae, tmp_path, kind, moment
):
    out, _ = whole(kind)
    again = words(videos, "--workdir", tmp_path / "clips", *by_kind(kind, tae))
    killed(moment, *again)
    left = {path.name for path in (tmp_path / "clips").iterdir()}
    assert "clips-00000-of-00003.json" in left and "manifest.json" not in left
    kept = (tmp_path / "clips" / "clips-00000-of-00003.array_record").stat().st_ino
    said = job(*again)
    assert f"{CLIPS} clips prepared, 1 set aside" in said
    assert digest(tmp_path / "clips") == digest(out)
    assert (tmp_path / "clips" / "clips-00000-of-00003.array_record").stat().st_ino == kept
    assert "nothing was left to do" in job(*again)
    assert digest(tmp_path / "clips") == digest(out)


def test_raft_takes_weights_that_were_converted(whole, videos, tmp_path):
    folder = tmp_path / "raft"
    options = {"size": "small", "naming": "torchvision"}
    found = weights.random_weights("raft", options, frozen.one_device())
    # Others than those of weights=random.
    params = jax.tree.map(lambda x: 1.01 * x, jax.device_get(found.params))
    save_params(folder, params, {weights.CONVERTED: {"kind": "raft", "options": options}})
    given = words(videos, *RAFT, f"--config.motion.raft.weights={folder}")
    job(*given, "--workdir", tmp_path / "clips")
    dataset = finite(tmp_path / "clips")
    assert len(dataset) == CLIPS
    read = loading.load(
        f"{tiny_run.CONFIG}:base",
        {"motion.flow": "raft", "motion.raft.weights": str(folder)},
    )
    wanted = frozen.fingerprints(frozen.device_flow(read))
    assert dataset.manifest["settings"]["weights"] == wanted
    random = whole("raft")[0]
    assert json.loads((random / "settings.json").read_text())["weights"] != wanted

    status, said = tiny_run.run([*tiny_run.CLI, *given, "--workdir", str(random)], 280)
    assert status == 2, said
    assert "prepared with other settings (settings.json): weights is" in said


def test_clips_of_a_trained_autoencoder_train_a_model_whose_samples_it_decodes(
    whole, tae, tmp_path
):
    out, _ = whole("tae")
    tiny = [word for word in tiny_run.TINY if not word.startswith("--config.source.")]
    run = tmp_path / "run"
    # Training reads latents alone and needs no weights.
    said = job(
        "train", "--config", f"{tiny_run.CONFIG}:base", *tiny, *tiny_tae.READER,
        "--config.model.motion=True", "--config.train.steps=2", "--config.train.batch_size=2",
        f"--config.train.dataset={out}", "--workdir", run,
    )  # fmt: skip
    assert "trained to step 2" in said
    sample = ["sample", "--workdir", str(run), "--prompt", "a square moves down"]
    status, said = tiny_run.run([*tiny_run.CLI, *sample], 280)
    assert status == 2
    assert "set config.autoencoder.weights" in said.splitlines()[-1]

    said = job(*sample, f"--config.autoencoder.weights={tae}", "--config.sample.enlarge=2")
    files = re.findall(r"^wrote (.*\.mp4)$", said, re.M)
    assert files, said
    for path in files:
        video = read_video(path)
        assert video.shape[0] == 4 and video.shape[1] % 32 == 0 and video.shape[2] % 32 == 0
