"""Processes that would not run the same are told apart; with real ones, whose files differ."""

import re
import shutil
import sys

import pytest
import tiny_run

from videojam_jax.parallel import same


def test_a_process_is_odd_that_differs_from_most_and_process_0_is_right_in_doubt():
    assert same.apart([b"a"] * 3) == (0, [])
    assert same.apart([b"a", b"b"]) == (0, [1])
    assert same.apart([b"a", b"b", b"b", b"c"]) == (1, [0, 3])
    assert same.apart([b"a", b"b", b"b", b"a"]) == (0, [1, 2])


def test_what_differs_is_named_with_both_values_and_its_processes():
    there = {"jax": "0.10.2", "config.train.steps": 40, "--prompt": ["a" * 100], "same": 1}
    here = {"jax": "0.11.2", "config.train.steps": 50, "--prompt": ["a" * 99], "same": 1}
    said = same.told(there, here, 0, [3])
    assert said.startswith(
        "process 3 does not run what process 0 runs: it differs in jax (0.10.2 on process 0, "
        "0.11.2 on process 3), config.train.steps (40 on process 0, 50 on process 3), --prompt "
    ) and said.endswith("; start all processes with the same command, the same code and the same "
                        "packages")  # fmt: skip
    assert len(said) < 600 and "same (" not in said
    said = same.told({"a": 1}, {"a": 1} | {f"key{n}": n for n in range(9)}, 2, list(range(10, 30)))
    assert said.startswith("20 processes (10, 11, 12, 13, 14, 15, 16, 17, ...) do not run what ")
    assert "key3 (absent on process 2, 3 on process 10) and 5 more;" in said


def test_code_names_the_packages_and_every_file_of_ours():
    found = same.code()
    assert found["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert {"jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint"} <= found.keys()
    assert "libtpu" not in found or found["libtpu"]
    assert len(found["videojam_jax/parallel/same.py"]) == 8


# --- real processes -----------------------------------------------------------------------


def ended(command, workdir, *, process, words=(), packages=None):
    """Two processes of a run, of which one has further words, or finds other packages first."""
    place = {
        "VIDEOJAM_COORDINATOR": f"localhost:{tiny_run.free_port()}", "VIDEOJAM_PROCESSES": "2",
    }  # fmt: skip
    started = []
    for number in (0, 1):
        other = number == process
        variables = {**place, "VIDEOJAM_PROCESS": str(number)}
        given = [*command, "--workdir", workdir, "--config.mesh.data=-1", *(words if other else ())]
        if other and packages:
            # Not forked from one that has imported all.
            given = ["env", "-C", packages, f"PYTHONPATH={packages}", *given]
        started.append(tiny_run.start(given, **variables))
    return tiny_run.ends(started, timeout=120)


def assert_refused(processes, pattern):
    assert [status for status, _ in processes] == [2, 2], processes
    lines = [
        re.search(r"^videojam: error(?: in process \d)?: (.*)$", said, re.M)[1]
        for _, said in processes
    ]
    assert lines[0] == lines[1] and re.search(pattern, lines[0]), lines
    assert "step 1/" not in processes[0][1]


@pytest.mark.multiprocess
@pytest.mark.parametrize("process", [0, 1])
def test_a_process_of_another_config_ends_all_in_one_line(tmp_path, process):
    # The latter is a machine's own.
    words = ["--config.optimizer.learning_rate=0.5", "--config.train.loader_threads=1"]
    command = tiny_run.command("train", "--config.train.dataset=../data")
    said = ["0.5 on process 0, .* on process 1", ".* on process 0, 0.5 on process 1"][process]
    assert_refused(
        ended(command, tmp_path / "run", process=process, words=words),
        "^process 1 does not run what process 0 runs: it differs in "
        rf"config.optimizer.learning_rate \({said}\); start all processes",
    )
    assert not (tmp_path / "run" / "running.json").exists()


@pytest.mark.multiprocess
def test_a_process_of_another_package_and_another_source_ends_all(tmp_path):
    # As a machine has it whose image was not renewed.
    fake = tmp_path / "packages"
    (fake / "optax-0.0.1.dist-info").mkdir(parents=True)
    (fake / "optax-0.0.1.dist-info" / "METADATA").write_text("Name: optax\nVersion: 0.0.1\n")
    shutil.copytree(tiny_run.ROOT / "videojam_jax", fake / "videojam_jax")
    with (fake / "videojam_jax" / "diffusion" / "loss.py").open("a") as file:
        file.write("# of yesterday\n")
    command = tiny_run.command("train", "--config.train.dataset=../data")
    assert_refused(
        ended(command, tmp_path / "run", process=1, packages=fake),
        r"it differs in optax \(\S+ on process 0, 0.0.1 on process 1\), "
        r"videojam_jax/diffusion/loss.py \(\w{8} on process 0, \w{8} on process 1\); start",
    )


@pytest.mark.multiprocess
def test_processes_that_see_other_clips_at_one_path_end_all(tmp_path):
    for number in (0, 1):
        folder = tmp_path / f"host_{number}"
        folder.mkdir()
        (folder / "manifest.json").write_text(f"[{number}]")
    command = tiny_run.command("train")
    paths = [f"--config.train.dataset={tmp_path}/host_{number}" for number in (0, 1)]
    assert_refused(
        ended([*command, paths[0]], tmp_path / "run", process=1, words=paths[1:]),
        r"differs in the clips of config.train.dataset \(\w{16} on process 0, \w{16} on process 1",
    )
