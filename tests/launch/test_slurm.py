"""launch/slurm.sbatch: what it would run, and what it does with how that ends.

SLURM itself is played by two scripts: `srun` runs the task twice and gives the highest
status, as the real one does, and `scontrol` notes how it was called.
"""

import datetime
import os
import pathlib
import shlex
import shutil
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
JOBS = {
    "prepare": ["--config", "configs/quickstart.py", "--workdir", "out/data"],
    "train": ["--config", "configs/quickstart.py:base", "--workdir=out/base"],
    "sample": ["--workdir", "out/base", "--prompt", "it's a red disc; $HOME"],
    "report": ["--workdir", "out"],
    "evaluate": ["--config", "configs/experiments/ablation.py:small", "--workdir", "out"],
}

SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
highest=0
for SLURM_PROCID in 0 1; do
  export SLURM_PROCID
  status=0
  "$@" || status=$?
  ((status <= highest)) || highest=$status
done
exit $highest
"""
SCONTROL = '#!/bin/bash\necho "$*" >>scontrol.log\n'
SQUEUE = "#!/bin/bash\necho ${TIME_LIMIT_ENDS:-N/A}\n"
VIDEOJAM = """#!/bin/bash
echo "$*" >>videojam.log
[[ ! -e saves ]] || mkdir -p "out/checkpoints/$(wc -l <videojam.log)"
if [[ -e hangs ]]; then trap 'exit 75' TERM; while :; do sleep 0.05; done; fi
exit "$(cut -d' ' -f$((SLURM_PROCID + 1)) statuses)"
"""


def sbatch(*arguments, cwd=ROOT, script=ROOT / "launch/slurm.sbatch", **environment):
    return subprocess.run(
        ["bash", str(script), *arguments],
        cwd=cwd, env={"PATH": os.environ["PATH"], "RESTART_SECOND": "0", **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def cluster(tmp_path):
    """Submits a job whose two tasks end with the given statuses."""
    tools = tmp_path / "bin"
    tools.mkdir()
    scripts = {"srun": SRUN, "scontrol": SCONTROL, "squeue": SQUEUE, "videojam": VIDEOJAM}
    for name, text in scripts.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)

    def submit(*statuses, **environment):
        (tmp_path / "statuses").write_text(" ".join(map(str, statuses)))
        environment = {"SLURM_JOB_ID": "17", **{k: str(v) for k, v in environment.items()}}
        path = f"{tools}:{os.environ['PATH']}"
        return sbatch("train", "--workdir", "out", cwd=tmp_path, **environment | {"PATH": path})

    submit.folder = tmp_path
    return submit


def requeued(cluster):
    """How often so far; `scontrol` is called for nothing else."""
    return (cluster.folder / "scontrol.log").read_text().count("requeue 17\n")


@pytest.mark.parametrize("job", JOBS)
def test_dry_run_prints_the_header_and_the_command_of_every_task(job):
    result = sbatch("--dry-run", job, *JOBS[job])
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    header = [line for line in lines if line.startswith("#SBATCH")]
    assert {"#SBATCH --requeue", "#SBATCH --signal=TERM@300"} <= set(header)
    command = shlex.split(lines[-1])
    assert command[0] == "srun"
    assert command[command.index("videojam") :] == ["videojam", job, *JOBS[job]]


def test_header_asks_for_as_many_tasks_as_gpus():
    lines = sbatch("--dry-run", "train", "--workdir", "out").stdout.splitlines()
    options = [line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")]
    header = dict(option.split("=") for option in options if "=" in option)
    assert header["gpus-per-node"] == header["ntasks-per-node"]


def test_environment_of_the_user_wins():
    result = sbatch(
        "--dry-run", "train", "--workdir", "out",
        XLA_FLAGS="--xla_gpu_enable_latency_hiding_scheduler=false",
        XLA_PYTHON_CLIENT_MEM_FRACTION="0.5",
    )  # fmt: skip
    exports = dict(
        shlex.split(line)[1].split("=", 1)
        for line in result.stdout.splitlines()
        if line.startswith("export")
    )
    assert exports["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.5"
    assert exports["XLA_FLAGS"].split()[-1] == "--xla_gpu_enable_latency_hiding_scheduler=false"


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        ([], {}, "JOB is ''"),
        (["tran", "--workdir", "out"], {}, "JOB is 'tran'"),
        (["train", "--config", "c.py"], {}, "--workdir"),
        (["train", "--workdir", "gs://bucket/run"], {}, "--workdir is a bucket"),
        (["train", "--workdir", "out"], {"MAX_RESTARTS": "many"}, "MAX_RESTARTS is 'many'"),
        (["train", "--workdir", "out"], {}, "not inside a SLURM job"),
        (
            ["train", "--workdir", "out"],
            {"SLURM_JOB_ID": "1", "PATH": "/usr/bin:/bin"},
            "no 'videojam' command",
        ),
    ],
)
def test_mistake_is_one_line_and_status_2(arguments, environment, said):
    result = sbatch(*arguments, **environment)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: ") and said in result.stderr


def test_tasks_must_be_as_many_as_gpus_or_one(cluster):
    gpus = {"SLURM_GPUS_ON_NODE": "8"}
    result = cluster(0, 0, SLURM_NTASKS_PER_NODE="4", **gpus)
    assert result.returncode == 2 and "4 tasks on a node with 8 GPUs" in result.stderr
    for tasks in "8", "1":
        assert cluster(0, 0, SLURM_NTASKS_PER_NODE=tasks, **gpus).returncode == 0


def test_finished_job_is_not_queued_again(cluster):
    assert cluster(0, 0).returncode == 0
    assert (cluster.folder / "videojam.log").read_text() == "train --workdir out\n" * 2
    assert not (cluster.folder / "scontrol.log").exists()


@pytest.mark.parametrize("statuses", [(75, 75), (75, 134), (137, 75), (0, 1)])
def test_stopped_or_killed_job_is_queued_again(cluster, statuses):
    assert cluster(*statuses).returncode == max(statuses)
    assert requeued(cluster) == 1


@pytest.mark.parametrize("statuses", [(2, 2), (2, 75), (134, 2)])
def test_mistake_of_one_task_ends_the_job_for_good(cluster, statuses):
    result = cluster(*statuses)
    assert result.returncode == 2
    assert not (cluster.folder / "scontrol.log").exists()
    # The next job with that number, after a correction, is not taken for wrong.
    assert cluster(0, 0).returncode == 0


def test_starts_without_a_new_checkpoint_are_bounded_through_all_turns(cluster):
    turns = [cluster(75, 75, MAX_RESTARTS=3, SLURM_RESTART_COUNT=turn) for turn in range(4)]
    assert [turn.returncode for turn in turns] == [75] * 4
    assert requeued(cluster) == 3
    for count, pause in ((1, 10), (2, 20), (3, 40)):
        said = f"restart {count} of 3 without a new checkpoint, in {pause} s: status 75"
        assert said in turns[count - 1].stderr
    assert "started again 3 times (MAX_RESTARTS) without a new checkpoint" in turns[3].stderr


def test_a_turn_that_brought_a_checkpoint_does_not_count(cluster):
    (cluster.folder / "saves").touch()
    for turn in range(4):
        result = cluster(1, 75, MAX_RESTARTS=1, SLURM_RESTART_COUNT=turn)
        assert "restart 1 of 1 without a new checkpoint, in 10 s" in result.stderr
    (cluster.folder / "saves").unlink()
    assert "not once more" in cluster(1, 75, MAX_RESTARTS=1, SLURM_RESTART_COUNT=4).stderr
    assert requeued(cluster) == 4


def test_the_pause_is_made_by_the_next_turn_as_far_as_slurm_has_not_made_it(cluster):
    def turn(number):
        began = time.monotonic()
        cluster(75, 75, SLURM_RESTART_COUNT=number, RESTART_PAUSE=40, RESTART_SECOND="0.1")
        return time.monotonic() - began

    assert turn(0) < 4, "the time of a turn may be up"
    assert turn(1) >= 4 - 0.1 * 8, "40 short seconds, but for those that have passed"
    kept = cluster.folder / "slurm-17" / "restarts"
    count, progress, pause, ended = kept.read_text().split()
    assert (count, progress, pause) == ("2", "0", "80")
    kept.write_text(f"{count} {progress} {pause} {int(ended) - 600}")
    assert turn(2) < 4


@pytest.mark.parametrize("told_by", ["SLURM_JOB_END_TIME", "TIME_LIMIT_ENDS"])
def test_a_job_whose_tasks_do_not_end_is_queued_again_before_its_time_is_up(cluster, told_by):
    (cluster.folder / "hangs").touch()
    ends = int(time.time()) + 62
    if told_by == "TIME_LIMIT_ENDS":  # as squeue has it
        ends = datetime.datetime.fromtimestamp(ends).isoformat()
    result = cluster(0, 0, **{told_by: ends})
    assert result.returncode == 124 and requeued(cluster) == 1
    assert "without a new checkpoint, in 10 s: status 124" in result.stderr


def test_the_copy_that_slurm_makes_of_the_script_finds_the_rule(tmp_path):
    copy = shutil.copy(ROOT / "launch/slurm.sbatch", tmp_path / "slurm_script")
    words = ["--dry-run", "train", "--workdir", "out"]
    result = sbatch(*words, cwd=tmp_path, script=copy, SLURM_SUBMIT_DIR=str(ROOT))
    assert result.returncode == 0, result.stderr
    result = sbatch(*words, cwd=tmp_path, script=copy, SLURM_SUBMIT_DIR=str(tmp_path))
    assert result.returncode == 2 and "submit from the root of the repository" in result.stderr
