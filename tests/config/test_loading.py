import dataclasses
import json
import pathlib

import pytest
import tiny_run

from videojam_jax import keys
from videojam_jax.config import autoencoding, loading, modelling, sampling
from videojam_jax.config.sampling import SampleOptions
from videojam_jax.config.schema import TRUNKS, Config, ModelOptions
from videojam_jax.data.scenes import OF_BODIES
from videojam_jax.data.shapes import SHAPES
from videojam_jax.data.simulate import SimulatedOptions
from videojam_jax.differences import flat
from videojam_jax.diffusion.guidance import RULES
from videojam_jax.diffusion.loss import LossOptions
from videojam_jax.diffusion.sampler import SOLVERS
from videojam_jax.errors import UserError
from videojam_jax.keys import config_key, part
from videojam_jax.models.autoencoders.reconstruction import ReconstructionOptions
from videojam_jax.models.compute import REMAT_POLICIES
from videojam_jax.models.text.pretrained import PretrainedOptions
from videojam_jax.models.text.reading import READINGS
from videojam_jax.motion.estimators import DIS_PRESETS
from videojam_jax.motion.options import MotionOptions

CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.py"))
FOLDER = CONFIGS[0].parent


def load(*overrides: str):
    path = str(FOLDER / "quickstart.py")
    return loading.load(path, dict(one.split("=", 1) for one in overrides))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_is_right(path):
    config = loading.load(str(path))
    if loading.is_autoencoder(config):
        autoencoding.init(config)
        assert "videojam train" in path.read_text()
        return
    modelling.latent_shape(config)
    sampling.times(config)
    assert config.model.motion == (not path.stem.startswith("dit"))
    assert "videojam train" in path.read_text()


@pytest.mark.parametrize("name", ["quickstart", "physics"])
def test_the_control_is_trained_as_videojam_is_but_without_motion(name):
    control, joint = (
        flat(loading.load(f"{FOLDER / name}.py:{arg}"))
        for arg in ("control", "videojam")
    )
    assert {key for key in joint if control[key] != joint[key]} == {"model.motion"}


@pytest.mark.parametrize("size", ["4b", "30b"])
def test_the_control_of_the_paper_s_runs_is_trained_as_videojam_is(size):
    control = loading.load(f"{FOLDER}/dit_{size}.py:control")
    joint = loading.load(f"{FOLDER}/videojam_{size}.py")
    for key in ("optimizer", "train.steps", "train.batch_size", "train.init_from", "model.trunk"):
        one, other = (flat(config) for config in (control, joint))
        assert {k: v for k, v in one.items() if k.startswith(key)} == {
            k: v for k, v in other.items() if k.startswith(key)
        }


@pytest.mark.parametrize("name", ["quickstart", "physics"])
def test_base_and_videojam_have_one_trunk_and_one_data_set(name):
    base, joint = (
        flat(loading.load(f"{FOLDER / name}.py:{arg}"))
        for arg in ("base", "videojam")
    )
    changed = {key for key in base if base[key] != joint[key]}
    assert {"model.motion", "train.init_from"} <= changed
    same = ("model.trunk", "autoencoder", "text", "clip", "source")
    assert not any(key.startswith(same) for key in changed)


@pytest.mark.parametrize(
    ("name", "batch", "steps", "shape"),
    [
        ("videojam_4b", 32, 50_000, (32, 3072, 8192, 24)),
        ("videojam_30b", 256, 35_000, (48, 6144, 16384, 48)),
    ],
)
def test_the_paper_s_numbers_are_in_its_configs(name, batch, steps, shape):
    config = loading.load(str(FOLDER / f"{name}.py"))
    trunk, clip = config.model.trunk, config.clip
    assert (trunk.blocks, trunk.width, trunk.ffn, trunk.heads) == shape
    assert (config.train.batch_size, config.train.steps) == (batch, steps)
    assert config.optimizer.learning_rate == 5e-6 and config.optimizer.warmup_steps == 0
    assert (config.loss.p_drop_text, config.loss.p_drop_motion) == (0.3, 0.2)
    assert (config.loss.time_kind, config.loss.time_mean, config.loss.time_std) == (
        "logit_normal",
        0.0,
        1.0,
    )
    assert (config.sample.w_text, config.sample.w_motion) == (5.0, 3.0)
    assert (config.sample.steps, sampling.inner_steps(config)) == (100, 50)
    assert (config.sample.schedule, config.sample.solver) == ("linear_quadratic", "euler")
    assert config.motion.sigma == 0.15
    assert (clip.frames, clip.height, clip.width, clip.fps) == (128, 256, 256, 24.0)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.lerning_rate=1", "did you mean config.optimizer.learning_rate"),
        ("optimizer.lr=1", "did you mean config.optimizer.learning_rate"),
        ("train.batchsize=1", "did you mean config.train.batch_size"),
        ("learning_rate=1", "did you mean config.optimizer.learning_rate"),
        ("trian.steps=1", "did you mean config.train"),
        ("train.steps=1.5", "train.steps = 1.5: a whole number is wanted"),
        ("train.steps=0", "at least 1"),
        ("train.steps=many", "train.steps = 'many'"),
        ("loss.p_drop_text=1.5", "at most 1.0"),
        ("motion.flow=raft2", "one of: exact, dis"),
        ("source.name=folders", "known: simulated, folder, tfds"),
        ("source.name=folder", "config.source.path is not set: a folder of videos"),
        ("source.path=x", "config.source.path is no key of what config.source.name chooses"),
        ("model.trunk.heads=7", "heads = 7 does not divide width"),
        ("text.heads=5", "heads = 5 does not divide width"),
        ("sample.emulate=4", "emulate = 4 is less than steps"),
        ("autoencoder.patch=(1,4)", "3 values"),
        ("model=3", "a section of keys"),
        ("seed.x=3", "config.seed"),
        ("sample.inner_steps=16", "now it is config.sample.inner_share, a share of config."),
        ("sample.inner_share=16", "inner_share = 16.0: at most 1.0"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_would_be_right(override, words):
    with pytest.raises(UserError) as error:
        load(override)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_overrides_are_read_as_python_values_and_words():
    config = load(
        "train.steps=7",
        "source.bodies=(1,2)",
        "motion.flow=dis",
        "optimizer.b1=0.5",
        "optimizer.learning_rate=1",
    )
    assert config.train.steps == 7 and config.source.bodies == (1, 2)
    assert config.motion.flow == "dis" and config.optimizer.b1 == 0.5
    assert config.optimizer.learning_rate == 1.0


def test_another_source_starts_with_none_of_the_old_one_s_keys():
    config = load("source.path=videos", "source.name=folder")
    assert config.source.to_dict() == {"name": "folder", "path": "videos"}


def test_a_required_key_is_asked_for():
    with pytest.raises(UserError, match="config.clip.frames is not set"):
        loading.resolve({})


@pytest.mark.parametrize(
    ("name", "words"), [("quikstart.py", "did you mean"), ("quickstart.py:bas", "'bas'")]
)
def test_a_wrong_file_or_argument_is_named(name, words):
    with pytest.raises(UserError, match=words):
        loading.load(str(FOLDER / name))


def test_a_broken_config_file_is_named(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def get_config():\n    return 1 / 0\n")
    with pytest.raises(UserError, match="mine.py: ZeroDivisionError"):
        loading.load(str(path))


def test_a_config_read_back_is_the_same(tmp_path):
    config = load("train.steps=7")
    (tmp_path / "config.json").write_text(loading.to_json(config))
    again = loading.load_resolved(tmp_path / "config.json")
    assert again.to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("steps", "share", "inner"),
    [(100, 0.5, 50), (50, 0.5, 25), (7, 0.5, 4), (5, 0.5, 2), (10, 0.0, 0), (10, 1.0, 10)],
)
def test_a_share_of_the_sampling_steps_is_guided(steps, share, inner):
    config = load(f"sample.steps={steps}", f"sample.inner_share={share}")
    assert sampling.inner_steps(config) == inner


@pytest.mark.parametrize(
    ("steps", "inner"), [(100, 50), (32, 16), (7, 3), (50, 50), (30, 80), (9, 0)]
)
def test_a_run_that_was_saved_with_a_number_of_guided_steps_keeps_it(tmp_path, steps, inner):
    tree = load(f"sample.steps={steps}", "sample.emulate=1000").to_dict()
    del tree["sample"]["inner_share"]
    tree["sample"]["inner_steps"] = inner
    path = tmp_path / "config.json"
    path.write_text(json.dumps(tree))
    assert sampling.inner_steps(loading.load_resolved(path)) == min(inner, steps)
    # It is the share that other steps then keep.
    twice = loading.load_resolved(path, {"sample.steps": str(2 * steps)})
    assert sampling.inner_steps(twice) == 2 * min(inner, steps)
    with pytest.raises(UserError, match="config.sample.inner_share"):
        loading.load_resolved(path, {"sample.inner_steps": "3"})
    path.write_text(json.dumps(tree | {"sample": {"inner_steps": "many"}}))
    with pytest.raises(UserError, match="unknown key config.sample.inner_steps"):
        loading.load_resolved(path)


@pytest.mark.parametrize(
    ("reads", "words"),
    [
        ("('prompt',)", "max_lengths, widths, weights and reads have 2, 2, 0, 1 values"),
        ("('prompt','quotes')", "('prompt', 'quotes'); one of: prompt, quoted"),
    ],
)
def test_what_encoders_read_is_one_word_for_each(reads, words):
    pretrained = "text.name=pretrained", "text.max_lengths=(8,8)", "text.widths=(4,4)"
    assert load(*pretrained).text.reads == ()
    assert load(*pretrained, "text.reads=('prompt','quoted')").text.reads[1] == "quoted"
    with pytest.raises(UserError) as error:
        load(*pretrained, f"text.reads={reads}")
    assert words in str(error.value) and "\n" not in str(error.value)


def test_the_weights_of_losses_have_one_default():
    # `outlier` once had three.
    for name in ("tae", "tae_small"):
        config = loading.load(str(FOLDER / f"{name}.py"))
        assert config.reconstruction.outlier == ReconstructionOptions().outlier


def test_a_default_that_is_changed_at_its_field_is_changed_everywhere(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Louder(LossOptions):
        motion_weight: float = config_key(2.5, "of what moves", minimum=2.0)

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Changed(Config):
        loss: LossOptions = part(Louder)

    monkeypatch.setattr(loading, "Config", Changed)
    config = load()
    assert config.loss.motion_weight == 2.5 == keys.make(Louder, config.loss).motion_weight
    assert "config.loss.motion_weight = 2.5: of what moves\n" in loading.explain()
    with pytest.raises(UserError, match=r"config.loss.motion_weight = 1.0: at least 2.0 \(of what"):
        load("loss.motion_weight=1")
    with pytest.raises(UserError, match="config.loss.motion_weight = 1.0: at least 2.0"):
        Louder(motion_weight=1.0)


def test_the_reference_in_the_docs_is_of_these_keys():
    text = (FOLDER.parent / "docs" / "keys.md").read_text()
    assert text.partition("```\n")[2] == f"{loading.explain()}\n```\n", (
        "docs/keys.md: renew it as it says"
    )


def test_choices_are_what_the_code_knows():
    model, sample, simulated = map(keys.entries, (ModelOptions, SampleOptions, SimulatedOptions))
    assert set(sample["guidance"].choices) == set(RULES)
    assert set(sample["solver"].choices) == set(SOLVERS)
    assert set(model["remat"].choices) == set(REMAT_POLICIES)
    assert set(model["attention"].choices) == {"auto", "xla", "cudnn", "splash"}
    assert set(model["trunk"].sections) == set(TRUNKS)
    assert set(keys.entries(MotionOptions)["dis_preset"].choices) == set(DIS_PRESETS)
    assert set(simulated["kinds"].default) == set(OF_BODIES)
    assert set(simulated["shapes"].default) == set(SHAPES)
    assert set(keys.entries(PretrainedOptions)["reads"].choices) == set(READINGS)


def test_videojam_keys_explains_every_key():
    status, text = tiny_run.here("keys")
    assert status == 0
    assert "config.optimizer.learning_rate = required: after the warm-up" in text
    for key in flat(load()):
        assert f"config.{key} = " in text, key
