"""All experiments from nothing to their reports, in one workdir, and what a rerun does."""

import json
import re
import shutil

import numpy as np
import pytest
import tiny_run

from videojam_jax.config import loading, sampling
from videojam_jax.errors import UserError
from videojam_jax.experiments import guidance, job, sampling_stages, store
from videojam_jax.experiments.setting import Setting

SWEEP = ["--config.experiment.w_text=(2.0,)", "--config.experiment.w_motion=(0.0,1.0)",
         "--config.experiment.inner=(0.5,)"]  # fmt: skip
OF = {
    "ablation": [],
    "permutation": ["--config.experiment.times=4"],
    "when": ["--config.experiment.kept=(0.5,)", "--config.runs.control="],  # one less to compile
    "guidance": SWEEP,
    "horizon": ["--config.experiment.times=4", "--config.experiment.first=(0.75,)"],
    "steps": ["--config.experiment.at=(0.5,1.0)"],
}
# What one experiment samples of runs that another has trained.
KEPT = "--config.change.train.keep_steps=(5,)"


def run(name, workdir, *words):
    start = [*tiny_run.experiment(name), "--workdir", workdir]
    tiny = [*tiny_run.TINY_EXPERIMENT, "--config.change.sample.batch_size=8", KEPT]
    return tiny_run.here_alone(*start, *tiny, *OF[name], *words)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("experiments")


def test_the_sweep_over_guided_steps_is_one_over_their_share(tmp_path):
    path = str(tiny_run.ROOT / "configs" / "experiments" / "guidance.py:tiny")
    given = {"change.sample.steps": "10", "experiment.inner": "(0.0, 0.25, 0.5, 1.0)"}
    setting = Setting(loading.load_experiment(path, given), tmp_path)
    rows = guidance.interval_rows(setting)
    counts = [sampling.inner_steps(sampling_stages.row_config(setting, row, 0)) for row in rows]
    assert counts == [0, 2, 5, 10]
    assert [row.label for row in rows] == [f"first {n} of 10 steps" for n in counts]


class Printed(dict):
    """What each experiment said when it was first run, which is when it is first asked for."""

    def __init__(self, workdir):
        self.workdir = workdir

    def __missing__(self, name):
        status, said = run(name, self.workdir)
        assert status == 0, said
        self[name] = said
        return said


@pytest.fixture(scope="module")
def printed(workdir):
    printed = Printed(workdir)
    assert printed["ablation"]  # it trains the runs that the others use
    return printed


# What compiles most is done beside the other long tests.
long = pytest.mark.multiprocess
EACH = ["ablation", "permutation", pytest.param("when", marks=long),
        pytest.param("guidance", marks=long), pytest.param("horizon", marks=long),
        pytest.param("steps", marks=long)]  # fmt: skip


@pytest.mark.parametrize("name", EACH)
def test_an_experiment_ends_by_naming_its_report(printed, workdir, name):
    page = workdir / name / "report.html"
    assert f"wrote {page}" in printed[name]
    text = page.read_text()
    assert not re.search(r"""(src|href)=["']?(http|//)""", text), "the page needs a network"
    assert "How far to trust this" in text and "one training" in text
    json.loads(page.with_suffix(".json").read_text())
    assert page.with_suffix(".md").read_text().startswith("# ")


@pytest.mark.parametrize("name", EACH[1:])
def test_runs_are_trained_once_for_all_experiments(printed, name):
    assert "train control, seed 0\n" in printed["ablation"]
    assert re.search(r"train videojam, seed 0: done", printed[name])
    assert "step 10/10" not in printed[name]


@pytest.mark.parametrize("name", EACH)
def test_a_finished_experiment_does_nothing_again(printed, workdir, name):
    assert printed[name]
    status, said = run(name, workdir)
    assert status == 0, said
    stages = re.findall(r"^\[\d+/\d+\] .*$", said, re.M)
    assert stages and all(stage.endswith(": done") for stage in stages), said


def test_the_ablation_has_a_row_for_each_rule_and_says_how_sure_it_is(printed, workdir):
    report = json.loads((workdir / "ablation" / "report.json").read_text())
    tables = {}
    for quantity in report["measured"]:
        tables.setdefault(quantity["section"], []).append(quantity)
    rows = set(tables["Ablation"][0]["values"])
    assert {"base (DiT)", "control (DiT, trained on)", "VideoJAM", "w/o text guidance",
            "w/o Inner-Guidance", "w/o optical flow", "IP2P guidance", "real clips"} <= rows
    score = tables["Ablation"][0]["values"]["VideoJAM"]
    assert score["low"] <= score["mean"] <= score["high"] and score["count"] == 10
    orderings = {q["name"]: q["values"] for q in tables["The paper's orderings"]}
    assert orderings["paper, 4B"]["VideoJAM over base (DiT)"] == "+15.4"
    assert set(orderings["ordering"].values()) <= {"holds", "does not hold", "undecided"}


def losses(workdir, name):
    path = workdir / "permutation" / "seed_0" / f"{name}.json"
    return json.loads(path.read_text())["losses"]


def test_the_permutation_asks_both_halves_and_whether_the_base_is_blind(printed, workdir):
    assert printed["permutation"]
    assert set(losses(workdir, "control")) == {"appearance"}
    for name in ("videojam", "videojam_without_motion"):
        of = losses(workdir, name)
        shapes = {np.shape(of[half][q]) for half in of for q in ("ordered", "own", "original")}
        assert set(of) == {"appearance", "motion"} and shapes == {(10, 4)}
    text = (workdir / "permutation" / "report.md").read_text()
    said = r"Over the first 2 of 4 steps \(t < 0.250\) of sampling its loss rises by .* % \[.*\]"
    assert re.search(rf"{said} when frames are permuted .* below 15 % is what we ask", text), text
    for title in ("Appearance loss, over the sampler's steps", "Motion loss, over t"):
        assert f"### {title}" in text


def test_videos_are_written_for_voters_and_for_vbench(printed, workdir):
    folder = workdir / "ablation" / "videos" / "seed_0"
    prompts = [json.loads((folder / row / "prompts.json").read_text())
               for row in ("base", "videojam")]  # fmt: skip
    assert prompts[0] == prompts[1] and len(prompts[0]) == 10
    assert all((folder / "base" / name).stat().st_size for name in prompts[0])


def test_another_number_of_clips_samples_anew_and_trains_nothing(printed, workdir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(workdir, copy)
    shutil.rmtree(copy / "ablation" / "held_out_data")  # of so many clips
    status, said = run("ablation", copy, "--config.clips=3", "--config.experiment.rows=('base',)")
    assert status == 0, said
    assert "train videojam, seed 0: done" in said and "step 10/10" not in said
    (batch,) = store.batches(copy / "ablation" / "seed_0" / "base")
    before = store.load(store.batches(workdir / "ablation" / "seed_0" / "base")[0][1]).videos
    np.testing.assert_array_equal(store.load(batch[1]).videos, before[:3])


def test_a_half_sampled_row_is_finished_and_comes_out_the_same(printed, workdir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(workdir, copy)
    row = copy / "ablation" / "seed_0" / "ip2p"
    _, second = store.batches(row)
    whole = second[1].read_bytes()
    second[1].unlink()
    (row / "measures.json").unlink()
    status, said = run("ablation", copy)
    assert status == 0, said
    not_done = re.findall(r"^\[\d+/\d+\] (.*(?<!: done))$", said, re.M)
    assert not_done[:2] == ["sample IP2P guidance, seed 0", "measure IP2P guidance, seed 0"]
    assert second[1].read_bytes() == whole
    measures = "ablation/seed_0/ip2p/measures.json"
    assert (copy / measures).read_text() == (workdir / measures).read_text()


@long
def test_horizon_compares_with_the_control_and_finishes_a_half_sampled_hybrid(
    printed, workdir, tmp_path
):
    assert printed["horizon"]
    report = json.loads((workdir / "horizon" / "report.json").read_text())
    (score,) = (q["values"] for q in report["measured"] if q["name"] == "motion score")
    (less,) = (q["values"] for q in report["measured"] if q["name"] == "less the control's")
    hybrids = [name for name in less if "to step 3 of 4" in name]
    assert len(hybrids) == 2 and set(less) == {"VideoJAM", *hybrids}
    control = score["control (DiT, trained on)"]["mean"]
    for name, estimate in less.items():
        np.testing.assert_allclose(estimate["mean"], score[name]["mean"] - control, atol=1e-9)

    copy = tmp_path / "copy"
    shutil.copytree(workdir, copy)
    second = {}
    for name in ("videojam_0003_control", "control_0003_videojam"):
        path = store.batches(copy / "horizon" / "seed_0" / name)[1][1]
        second[path] = path.read_bytes()
        path.unlink()
    status, said = run("horizon", copy)
    assert status == 0, said
    assert {path: path.read_bytes() for path in second} == second


@long
def test_steps_samples_the_checkpoints_and_the_last_as_the_ablation_does(printed, workdir):
    assert printed["steps"]

    def clips(row):
        return store.first_clips(workdir / row, 10).videos

    for name in ("base", "control", "videojam", "no_optical_flow"):
        last = clips(f"ablation/seed_0/{name}")
        on_the_way = "" if name == "base" else "_step_000010"
        np.testing.assert_array_equal(clips(f"steps/seed_0/{name}{on_the_way}"), last)
        if on_the_way:
            assert (clips(f"steps/seed_0/{name}_step_000005") != last).any()


@long
def test_two_seeds_train_twice_and_are_in_one_interval(printed, workdir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(workdir, copy)
    # Without the control, to spare a training.
    status, said = run("ablation", copy, "--config.seeds=(0,1)", "--config.runs.control=",
                       "--config.experiment.rows=('base','videojam')")  # fmt: skip
    assert status == 0, said
    assert "train videojam, seed 0: done" in said and "train videojam, seed 1\n" in said
    report = json.loads((copy / "ablation" / "report.json").read_text())
    score = next(q for q in report["measured"] if q["name"] == "motion score")
    assert score["values"]["VideoJAM"]["count"] == 20
    assert score["values"]["real clips"]["count"] == 10
    assert "and 2 trainings" in (copy / "ablation" / "report.md").read_text()
    videos = [store.first_clips(copy / "ablation" / f"seed_{seed}" / "videojam", 10).videos
              for seed in (0, 1)]  # fmt: skip
    assert (videos[0] != videos[1]).any()


def test_prompts_of_a_file_are_sampled_without_real_clips(printed, workdir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(workdir, copy)
    (tmp_path / "prompts.txt").write_text("a red disc falls\na cat\n")
    status, said = run("ablation", copy, f"--config.prompts={tmp_path / 'prompts.txt'}",
                       "--config.experiment.rows=('base','videojam')")  # fmt: skip
    assert status == 0, said
    text = (copy / "ablation" / "report.md").read_text()
    assert "no real clips beside these captions" in text and "real clips |" not in text


def test_vbench_s_results_beside_the_videos_give_the_paper_s_columns(printed, workdir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(workdir, copy)
    # The paper's VideoJAM-4B.
    numbers = {"aesthetic_quality": 0.516, "imaging_quality": 0.611, "subject_consistency": 0.935,
               "background_consistency": 0.967, "motion_smoothness": 0.988,
               "dynamic_degree": 0.875}  # fmt: skip
    lay_vbench(copy, "videojam", numbers, numbers)
    status, said = run("ablation", copy)
    assert status == 0, said
    report = json.loads((copy / "ablation" / "report.json").read_text())
    columns = {q["name"]: q["values"] for q in report["measured"] if q["section"] == "VBench"}
    assert columns["Appearance"]["VideoJAM"] == pytest.approx(0.751, abs=0.0015)
    assert columns["Motion"]["VideoJAM"] == pytest.approx(0.937, abs=0.0015)
    assert columns["Motion, paper 4B"]["VideoJAM"] == 0.937
    text = (copy / "ablation" / "report.md").read_text()
    assert "Judged by the motion score" in text and "(so far, of 1 of 7)" in text

    # With another row's, for these two rows: the paper's measure judges.
    lay_vbench(copy, "base", numbers, {**numbers, "dynamic_degree": 0.0})
    two = ["--config.experiment.rows=('base','videojam')", "--config.experiment.paper=30B"]
    status, said = run("ablation", copy, *two)
    assert status == 0, said
    assert "Judged by VBench's Motion" in (copy / "ablation" / "report.md").read_text()
    report = json.loads((copy / "ablation" / "report.json").read_text())
    of = {q["name"]: q["values"] for q in report["measured"] if "orderings" in q["section"]}
    label = "VideoJAM over base (DiT)"
    assert of["paper, 30B"] == {label: "+4.3"} and of["clips"][label] == 0.5
    # Of the two clips one has as much motion, the other .875 / 2 / 1.5 more.
    assert of["here"][label]["mean"] == pytest.approx(0.875 / 6) and of["here"][label]["count"] == 2
    assert of["ordering"][label] == "undecided"


def lay_vbench(workdir, row, *clips):
    """VBench's results of a row, as it writes them; the score of all is that of the first clip."""
    folder = workdir / "ablation" / "vbench" / "seed_0" / row
    folder.mkdir(parents=True)
    scale = {"imaging_quality": 100}  # of a clip's own score, not of the mean
    results = {
        name: [clips[0][name], [
            {"video_path": f"{i}-0.mp4", "video_results": clip[name] * scale.get(name, 1)}
            for i, clip in enumerate(clips)
        ]]
        for name in clips[0]
    }
    (folder / "results_eval_results.json").write_text(json.dumps(results))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config.clip=3"], "unknown key config.clip: did you mean config.clips?"),
        (["--config.change.model.trunk.width=17"], "does not divide width = 17"),
        (["--config.seeds=()"], "config.seeds is empty"),
        (["--config.runs.control=../quickstart.py:videojam"], "config.runs.control"),
        (["--config.held_out.source.seed=0"], "config.held_out changes nothing of the source"),
        (["--config.prompts=nowhere.txt"], "nowhere.txt"),
        (["--config.change.loss.p_drop_text=0.5"],
         "was trained with config.loss.p_drop_text = 0.3, which is now 0.5"),
        (["--config.experiment.name=other"], "known: ablation"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_it(printed, workdir, words, message):
    status, said = run("ablation", workdir, *words)
    assert status == 2 and message in said, said
    assert len([line for line in said.splitlines() if not line.startswith("[")]) == 1, said


def test_the_stages_can_be_read_before_any_is_done(tmp_path):
    status, said = run("permutation", tmp_path / "none", "--dry-run")
    assert status == 0 and "train control, seed 0" in said and not (tmp_path / "none").exists()


def test_a_trained_run_is_used_where_it_is(printed, workdir, tmp_path):
    given = [f"--config.runs.{kind}={workdir / 'seed_0' / kind}" for kind in
             ("base", "control", "videojam")]  # fmt: skip
    status, said = run("ablation", tmp_path / "new", *given,
                       "--config.experiment.rows=('control','videojam')")  # fmt: skip
    assert status == 0, said
    assert "train" not in re.sub("trained", "", said)
    for row in ("control", "videojam"):
        old, new = (
            store.load(store.batches(root / "ablation" / "seed_0" / row)[0][1]).videos
            for root in (workdir, tmp_path / "new")
        )
        np.testing.assert_array_equal(old, new)
    status, said = run("ablation", tmp_path / "two", *given, "--config.seeds=(0,1)")
    assert status == 2 and "a run that was trained elsewhere has one seed" in said


def test_a_training_config_and_an_experiment_are_not_taken_for_each_other(tmp_path):
    status, said = tiny_run.here("evaluate", "--config", tiny_run.CONFIG, "--workdir", tmp_path)
    assert status == 2 and "no experiment; those are in configs/experiments" in said
    config = tiny_run.experiment("ablation")[-1]
    status, said = tiny_run.here("train", "--config", config, "--workdir", tmp_path)
    assert status == 2 and "run it with `videojam evaluate`" in said


def test_every_size_of_every_experiment_is_right(tmp_path):
    folder = tiny_run.ROOT / "configs" / "experiments"
    names = sorted(path.stem for path in folder.glob("*.py"))
    assert names == sorted(OF)
    for name in names:
        for size in ("tiny", "small", "paper", "paper_30b"):
            config = loading.load_experiment(f"{folder / name}.py:{size}")
            setting = Setting(config, tmp_path)
            setting.check()
            if not config.prompts:
                setting.held_out()


def test_a_base_shares_videojam_s_clips_however_these_encode_motion(tmp_path):
    path = f"{tiny_run.ROOT / 'configs' / 'experiments' / 'ablation.py'}:quickstart"
    Setting(loading.load_experiment(path, {"change.motion.sigma": "0.3"}), tmp_path).check()
    other = {"runs.base": "../quickstart.py:base"}
    with pytest.raises(UserError, match="base = .*/quickstart.py:base: its clips, autoencoder or t"):
        Setting(loading.load_experiment(path, other), tmp_path).check()


def test_processes_compare_what_stands_in_the_configs_of_the_runs(tmp_path):
    path = tiny_run.experiment("ablation")[-1]

    def facts(**overrides):
        return job.facts(loading.load_experiment(path, overrides), tmp_path)

    one = facts()
    assert one["config.clips"] and one["base's config.train.steps"]
    assert not [name for name in one if name.startswith("config.runs.")], "where they lie"
    other = facts(**{"change.train.batch_size": "2"})
    assert {name for name in other if other[name] != one.get(name)} == {
        "config.change.train.batch_size",
        *(f"{kind}'s config.train.batch_size" for kind in ("base", "control", "videojam")),
    }
