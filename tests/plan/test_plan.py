"""`videojam plan` from its command line to its files."""

import json
import subprocess
import sys

import pytest
import tiny_run

SMALL = [
    "--config", tiny_run.CONFIG, *tiny_run.TINY[5:], "--config.train.batch_size=8",
]  # fmt: skip


def plan(*arguments):
    return tiny_run.here("plan", *SMALL, *arguments)


@pytest.fixture(scope="module")
def on_eight(tmp_path_factory):
    """What is printed for cpu:8 with fsdp=8, and the JSON and Markdown files."""
    out = tmp_path_factory.mktemp("plan")
    files = ["--json", out / "plan.json", "--markdown", out / "plan.md"]
    status, printed = plan("--platform", "cpu:8", "--config.mesh.fsdp=8", *files)
    assert status == 0, printed
    return printed, json.loads((out / "plan.json").read_text()), (out / "plan.md").read_text()


def test_the_plan_answers_every_question(on_eight):
    printed, _, markdown = on_eight
    titles = (
        "Plan", "Parameters", "FLOPs of a training step", "Bytes of one device",
        "Collectives of a training step", "Time of a training step", "The sampler",
        "Collectives of the sampler",
    )  # fmt: skip
    for title in titles:
        assert f"\n{title}" in printed
        assert f"\n## {title}" in markdown
    assert "more than an eighth of config.model.trunk.width" in printed


def test_what_is_counted_is_what_the_closed_form_says(on_eight):
    _, numbers, _ = on_eight
    assert numbers["parameters"] == numbers["parameters_closed_form"]
    counted, expected = numbers["model_flops"], numbers["model_flops_closed_form"]
    assert sum(counted.values()) == pytest.approx(sum(expected.values()), rel=0.01)


def test_a_mesh_that_is_not_valid_gets_a_proposal_that_is(tmp_path):
    path = tmp_path / "plan.json"
    status, printed = plan(
        "--platform", "cpu:8", "--config.mesh.fsdp=8", "--config.train.batch_size=4", "--json", path
    )
    assert status == 0
    assert "as given: config.train.batch_size = 4 does not divide" in printed
    numbers = json.loads(path.read_text())
    proposed = numbers["proposal"]
    assert 4 % (proposed["mesh.data"] * proposed["mesh.fsdp"]) == 0
    assert f"--config.mesh.fsdp={proposed['mesh.fsdp']}" in printed
    assert numbers["training_step"]["fits"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--platform", "cpu:x"], "--platform cpu:x: cpu:N"),
        (["--topology", "v5p:2x2"], "v5p has 3 dimensions"),
        (["--platform", "cpu:8", "--slices", "2"], "--slices goes with --topology"),
    ],
)
def test_a_wrong_machine_is_one_line(arguments, message):
    status, printed = plan(*arguments)
    assert status == 2
    assert printed.startswith("videojam: error: ") and len(printed.splitlines()) == 1
    assert message in printed


def test_a_machine_has_to_be_named():
    status, printed = plan()
    assert status == 2 and "--topology" in printed


@pytest.mark.tpu
def test_a_tpu_program_is_compiled_without_a_tpu(tmp_path):
    """In a process of its own, as a user would: nothing on stderr but what plan says."""
    path = tmp_path / "plan.json"
    command = [
        sys.executable, "-m", "videojam_jax.cli", "plan", *SMALL, "--topology", "v5e:2x4",
        "--config.mesh.fsdp=8", "--config.model.dtype=bfloat16", "--json", str(path),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("compiling ") for line in done.stderr.splitlines()), done.stderr
    numbers = json.loads(path.read_text())
    assert numbers["device_kind"] == "TPU v5 lite" and numbers["training_step"]["fits"]
    assert numbers["training_step"]["seconds"]["at_best"] > 0
