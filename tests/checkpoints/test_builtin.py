"""Runs that come with the package, by name: found, used, not written to, fit to be shipped."""

import json
import pathlib

import jax
import pytest
import shipped_runs
import tiny_run
import tiny_tae

from videojam_jax.checkpoints import builtin
from videojam_jax.checkpoints.exported import FILE, sha256
from videojam_jax.checkpoints.read import (
    latest_step,
    load_params,
    read_architecture,
    restore_params,
)
from videojam_jax.config import autoencoding, frozen, loading, modelling
from videojam_jax.differences import flat
from videojam_jax.errors import UserError
from videojam_jax.experiments import sampling_stages
from videojam_jax.experiments.setting import Setting
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.parameters import abstract_params

MOST_BYTES = 12e6
READER = {word.removeprefix("--config.").split("=")[0]: word.split("=")[1]
          for word in tiny_tae.READER} | {"autoencoder.weights": "builtin:tiny_tae"}  # fmt: skip
README = "Made by `videojam train`, 7 steps.\n\nsha256 of the weights: {}\n"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A room of two runs: an autoencoder, and a base on its latents."""
    root = tmp_path_factory.mktemp("package")
    room = root / "weights"
    shipped_runs.tae(root / "tae")
    shipped_runs.base(root / "base", **READER)
    for name, dtype in (("tae", None), ("base", "bfloat16")):
        folder = shipped_runs.exported(root / name, room / f"tiny_{name}", dtype)
        (folder / "README.md").write_text(README.format(sha256(folder / FILE)))
    (room / "README.md").write_text("# A folder for each\n")
    return room


@pytest.fixture
def room(shipped, monkeypatch):
    monkeypatch.setattr(builtin, "ROOM", shipped)
    return shipped


# --- by name ---


def test_a_name_stands_for_its_folder_and_a_path_for_itself(room):
    assert builtin.names() == ["tiny_base", "tiny_tae"]
    assert builtin.run_folder("builtin:tiny_tae") == room / "tiny_tae"
    assert builtin.run_folder("out/base") == pathlib.Path("out/base")
    workdir = pathlib.Path("/runs/videojam")
    assert loading.beside("builtin:tiny_base", workdir) == room / "tiny_base"
    assert loading.beside("../base", workdir) == pathlib.Path("/runs/base")


def test_an_unknown_name_lists_the_known_and_the_nearest(room, monkeypatch):
    with pytest.raises(UserError) as told:
        builtin.run_folder("builtin:tiny_bass")
    for part in ("builtin:tiny_bass: ", "there are: tiny_base, tiny_tae",
                 "did you mean builtin:tiny_base?"):  # fmt: skip
        assert part in str(told.value)
    for name in ("", "..", "../weights/tiny_base"):
        with pytest.raises(UserError, match="there are: tiny_base, tiny_tae"):
            builtin.run_folder(f"builtin:{name}")
    config = shipped_runs.config("base", **READER | {"autoencoder.weights": "builtin:tae"})
    with pytest.raises(UserError, match="^config.autoencoder.weights: builtin:tae: no weights"):
        frozen.autoencoder(config)
    monkeypatch.setattr(builtin, "ROOM", room / "nothing")
    with pytest.raises(UserError, match="there are: none$"):
        builtin.run_folder("builtin:tiny_base")


def test_a_config_keeps_the_name_whatever_folder_it_is_read_in(room):
    config = shipped_runs.config("base", **READER)
    assert config.autoencoder.weights == "builtin:tiny_tae"
    kept = loading.load_resolved(room / "tiny_base" / "config.json")
    assert kept.autoencoder.weights == "builtin:tiny_tae"
    assert frozen.autoencoder(kept).shift.shape == (4,)


def test_settings_tell_weights_by_their_bits(room, tmp_path, monkeypatch):
    settings = {"weights": "builtin:tiny_tae", "sizes": (1, 2), "more": {"path": "/a/builtin:"}}
    found = builtin.by_bits(settings)
    digest = sha256(room / "tiny_tae" / FILE)
    wanted = {"weights": f"builtin:sha256:{digest}", "sizes": [1, 2], "more": settings["more"]}
    assert found == wanted
    moved = tmp_path / "elsewhere"
    (moved / "renamed").mkdir(parents=True)
    (moved / "renamed" / FILE).write_bytes((room / "tiny_tae" / FILE).read_bytes())
    (moved / "other").mkdir()
    (moved / "other" / FILE).write_bytes((room / "tiny_base" / FILE).read_bytes())
    monkeypatch.setattr(builtin, "ROOM", moved)
    assert builtin.by_bits("builtin:renamed") == found["weights"]
    assert builtin.by_bits("builtin:other") != found["weights"]


# --- in jobs ---


def setting(workdir):
    path = str(tiny_run.ROOT / "configs" / "experiments" / "ablation.py:tiny")
    tiny = dict(word.removeprefix("--config.").split("=") for word in tiny_run.TINY_EXPERIMENT)
    changes = {f"change.{key}": value for key, value in READER.items()}
    given = {"runs.base": "builtin:tiny_base", "prompts": "motion64", "clips": "2"}
    return Setting(loading.load_experiment(path, tiny | changes | given), workdir)


def test_an_experiment_starts_from_a_base_that_comes_with_the_package(room, tmp_path, monkeypatch):
    its = setting(tmp_path)
    its.check()
    assert its.is_given("base") and its.run_folder("base", 0) == room / "tiny_base"
    assert its.run_config("base", 0).train.batch_size == 8
    for kind in ("control", "videojam"):
        assert not its.is_given(kind)
        assert its.run_config(kind, 0).train.init_from == "builtin:tiny_base"

    def origin(kind):
        row = sampling_stages.SampledRow(kind, kind, kind)
        return sampling_stages.row_origin(setting(tmp_path), row, 0)

    before = {kind: origin(kind) for kind in ("base", "videojam")}
    assert before["base"]["step"] == shipped_runs.STEP and before["videojam"]["step"] is None
    words = json.dumps(before)
    assert str(room) not in words and "builtin:tiny" not in words
    for name in ("tiny_base", "tiny_tae"):
        assert sha256(room / name / FILE) in words
    # The same package elsewhere.
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "weights").symlink_to(room)
    monkeypatch.setattr(builtin, "ROOM", tmp_path / "site" / "weights")
    assert {kind: origin(kind) for kind in before} == before


def test_clips_are_sampled_by_name_and_nothing_is_written_into_the_package(
    room, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    there = sorted(room.rglob("*"))
    words = ["sample", "--prompt", "a red disc falls", "--config.sample.steps=2"]
    status, said = tiny_run.here_alone(*words, "--workdir", "builtin:tiny_base")
    assert status == 0, said
    out = tmp_path / "sample_out" / "tiny_base" / "samples" / "prompts"
    index = json.loads((out / "samples.json").read_text())
    assert index["step"] == shipped_runs.STEP and (out / "000_a_red_disc_falls.mp4").exists()
    assert sorted(room.rglob("*")) == there
    # Nor when it is named by its path: the clips are there already.
    status, again = tiny_run.here_alone(*words, "--workdir", room / "tiny_base")
    assert status == 0 and again == said
    assert sorted(room.rglob("*")) == there


def test_a_job_that_writes_to_its_workdir_refuses_the_package(room, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = tiny_run.words("train", "--workdir", "builtin:tiny_base", "--config.train.steps=1")
    status, said = tiny_run.here(*words)
    assert status == 2 and "builtin:tiny_base: nothing is written into the package" in said, said
    assert not list(tmp_path.iterdir())


# --- what is shipped ---


def problems(folder: pathlib.Path) -> list[str]:
    """What keeps a folder from being shipped."""
    found = []
    readme = folder / "README.md"
    if not readme.is_file():
        found.append("no README.md")
    elif sha256(folder / FILE) not in readme.read_text(encoding="utf-8"):
        found.append(f"README.md does not have the sha256 of {FILE}")
    for key, value in flat(json.loads((folder / "config.json").read_text())).items():
        if str(value).startswith("/"):
            found.append(f"config.{key} = {value!r} is a path of the machine it was trained on")
    try:
        config = loading.load_resolved(folder / "config.json")
        devices = jax.devices()[:1]
        if loading.is_autoencoder(config):
            wanted = autoencoding.architecture(config)
            place = jax.sharding.SingleDeviceSharding(devices[0])
            shapes = jax.eval_shape(autoencoding.init(config), jax.random.key(0))
            _, latent = load_params(folder, jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes
            ))  # fmt: skip
            if read_architecture(folder) != wanted:
                found.append(f"its architecture is not that of its config: {wanted}")
            if [len(latent[name]) for name in ("shift", "scale")] != [config.tae.channels] * 2:
                found.append("shift and scale are not of its latents")
        else:
            shapes = abstract_params(modelling.init(config), make_mesh({"data": 1}, devices))
            restore_params(folder, shapes, modelling.architecture(config), ema=True)
            frozen.autoencoder(config)
        if latest_step(folder) < 1:
            found.append("it was not trained")
    except UserError as error:
        found.append(str(error))
    return found


def test_every_run_of_the_package_is_whole_and_all_are_small():
    assert {name: problems(builtin.run_folder(f"builtin:{name}")) for name in builtin.names()} == {
        name: [] for name in builtin.names()
    }
    files = [path for path in builtin.ROOM.rglob("*") if path.is_file()]
    assert builtin.ROOM / "README.md" in files
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    # A folder whose weights have another name would be passed over.
    assert {path.name for path in builtin.ROOM.iterdir() if path.is_dir()} == set(builtin.names())


def test_what_would_be_wrong_with_a_shipped_run_is_seen(room, tmp_path):
    assert problems(room / "tiny_base") == []
    assert problems(room / "tiny_tae") == ["it was not trained"]  # `save_params` writes step 0

    def changed(name, file, change):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for path in (room / name).iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        text = (folder / file).read_text()
        (folder / file).write_text(change(text))
        return " ".join(problems(folder))

    def replaced(one, other):
        return lambda text: text.replace(one, other)

    assert "does not have the sha256" in changed("tiny_base", "README.md", lambda text: "# Base")
    wider = changed("tiny_base", "config.json", replaced('"ffn": 32', '"ffn": 48'))
    assert "another architecture: model.trunk.ffn is 32 there" in wider
    wider = changed("tiny_tae", "config.json", replaced('"width": 8', '"width": 4'))
    assert "not the parameters that this config's model has" in wider
    path = changed("tiny_base", "config.json", replaced("builtin:tiny_tae", "/home/me/tae"))
    assert "config.autoencoder.weights = '/home/me/tae' is a path of the machine" in path
