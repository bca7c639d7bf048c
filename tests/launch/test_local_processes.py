"""The launcher of several processes on one machine, with jobs of a few lines."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tiny_run

# Where the tests run in the background, Ctrl-C is ignored by them and all that they start.
HEARING_CTRL_C = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""
FOLDER = tiny_run.ROOT / "launch"


@pytest.fixture
def launch(tmp_path):
    """`launch(job, *words) -> Popen` of a copy of the script, where `videojam` is `job`.

    `job` is the text of a program in Python, or None for the real command. The script's
    neighbour environment.sh, which would install things, stands aside.
    """
    folder = tmp_path / "launch"
    folder.mkdir()
    script = shutil.copy(FOLDER / "local_processes.sh", folder)
    shutil.copy(FOLDER / "restarts.sh", folder)
    (folder / "environment.sh").write_text(
        f'fail() {{ echo "error: $1" >&2; exit 2; }}\npython={sys.executable}\n'
        f'PATH="{tmp_path}/bin:$PATH"\ncd "{tmp_path}"\n'
    )

    def start(job, *words, **variables):
        command = tmp_path / "bin" / "videojam"
        command.parent.mkdir(exist_ok=True)
        imports = "import os, sys, time, signal, pathlib\n"
        job = "from videojam_jax.cli.main import main\nsys.exit(main())" if job is None else job
        command.write_text(f"#!{sys.executable}\n{imports}{job}\n")
        command.chmod(0o755)
        return subprocess.Popen(
            [sys.executable, "-c", HEARING_CTRL_C, "bash", script, *map(str, words)],
            cwd=tmp_path,
            env={
                **tiny_run.environment(),
                "JAX_PLATFORMS": "cpu",
                "RESTART_SECOND": "0",
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def end(process):
    out, _ = process.communicate(timeout=240)
    return process.returncode, out


def test_each_process_is_told_its_place_and_has_numbered_lines(launch):
    job = """
names = ("COORDINATOR", "PROCESSES", "PROCESS")
place = (os.environ["VIDEOJAM_" + name] for name in names)
print(*place, *sys.argv[1:], os.getcwd(), file=sys.stderr)
print("no newline at the end", end="", file=sys.stderr)
"""
    status, out = end(launch(job, 3, "train", "--config", "two words"))
    assert status == 0
    found = re.findall(r"^\[(\d)\] (localhost:\d+) 3 (\d) train --config two words (.*)$", out, re.M)
    assert sorted(number for number, *_ in found) == ["0", "1", "2"]
    assert all(number == process for number, _, process, _ in found)
    assert len({port for _, port, *_ in found}) == 1
    for number in range(3):
        assert f"[{number}] no newline at the end\n" in out


def test_a_shared_terminal_has_the_lines_of_process_0_and_the_errors_of_all(launch):
    status, out = end(launch("print('step 1/9'); print('lost', file=sys.stderr)", 2, "train"))
    assert status == 0
    assert {"[0] step 1/9", "[0] lost", "[1] lost"} <= set(out.splitlines())
    assert "[1] step" not in out


def test_paths_are_from_where_the_user_is(launch, tmp_path):
    status, out = end(launch("print(os.getcwd())", 1, "train"))
    assert status == 0 and f"[0] {tmp_path}\n" in out


@pytest.mark.parametrize(
    ("statuses", "status"),
    [("0 0 0", 0), ("0 75 0", 75), ("75 2 75", 2), ("2 134 1", 2), ("1 0 0", 75), ("0 0 137", 75)],
)
def test_its_status_tells_what_to_do_next(launch, statuses, status):
    job = f"sys.exit(int('{statuses}'.split()[int(os.environ['VIDEOJAM_PROCESS'])]))"
    assert end(launch(job, 3, "train"))[0] == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_goes_to_all_and_the_script_waits_for_them(launch, number):
    job = """
def stop(*_):
    print("saved", file=sys.stderr)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
print("ready", file=sys.stderr)
while True:
    signal.pause()
"""
    process = launch(job, 2, "--restarts", 5, "train")
    for _ in range(2):
        tiny_run.read_until(process, "ready")
    process.send_signal(number)
    status, out = end(process)
    assert status == 75
    assert "[0] saved\n" in out and "[1] saved\n" in out
    assert "restart" not in out, "who stops a run does not want it started again"


@pytest.mark.parametrize(
    ("first", "restarts", "status", "starts"),
    [(75, 2, 0, 2), (134, 2, 0, 2), (2, 2, 2, 1), (75, 0, 75, 1)],
)
def test_a_group_is_started_again_after_what_may_pass(launch, tmp_path, first, restarts, status, starts):
    job = f"""
mine = pathlib.Path("{tmp_path}") / ("started_" + os.environ["VIDEOJAM_PROCESS"])
before = mine.exists()
mine.touch()
print("started", file=sys.stderr)
sys.exit({first} if not before and os.environ["VIDEOJAM_PROCESS"] == "1" else 0)
"""
    ended, out = end(launch(job, 2, "--restarts", restarts, "train"))
    assert ended == status
    assert out.count("[0] started") == starts and out.count("[1] started") == starts


def test_restarts_come_to_an_end(launch):
    job = "print('started'); sys.exit(75)"
    variables = {"RESTART_PAUSE_MAX": "30", "MAX_RESTARTS": "4"}
    status, out = end(launch(job, 1, "train", "--workdir", "w", **variables))
    assert status == 75 and out.count("[0] started") == 5
    told = re.findall(r"^\d\S+Z restart (\d of \d) without a new checkpoint, in (.*)$", out, re.M)
    pauses = [f"{seconds} s: status 75" for seconds in (10, 20, 30, 30)]
    assert told == [(f"{i} of 4", pause) for i, pause in enumerate(pauses, 1)]
    assert "error: status 75; started again 4 times (MAX_RESTARTS) without a new" in out


def test_there_is_a_pause_that_a_signal_ends(launch):
    job = "print('started', flush=True); sys.exit(75)"
    process = launch(job, 1, "--restarts", 1, "train", RESTART_SECOND="0.05")
    tiny_run.read_until(process, "restart 1 of 1")
    told = time.monotonic()
    status, out = end(process)
    assert status == 75 and out.count("started") == 2
    assert time.monotonic() - told > 10 * 0.05
    process = launch(job, 1, "--restarts", 1, "train", RESTART_SECOND="0.5", RESTART_PAUSE="600")
    tiny_run.read_until(process, "restart 1 of 1")
    process.send_signal(signal.SIGTERM)
    status, out = end(process)
    assert (status, out) == (75, "")


# What stands in the folder after each start; True where that is progress.
@pytest.mark.parametrize(
    ("job", "paths"),
    [
        ("train", {"checkpoints/10": True, "checkpoints/9": False, "checkpoints/damaged_20": False,
                   "checkpoints/30.orbax-checkpoint-tmp-1": False, "checkpoints/20": True}),
        ("evaluate", {"base/checkpoints/5": True, "seed_0/base/checkpoints/3": True}),
        ("prepare", {"clips-00000-of-00002.array_record": True, ".clips-00001.x.part": False}),
        ("sample", {"samples/1.mp4": False}),
    ],
)  # fmt: skip
def test_a_start_that_brings_a_new_checkpoint_sets_the_count_back(launch, tmp_path, job, paths):
    text = f"""
left = [path for path in {list(paths)} if not pathlib.Path("w", path).exists()]
if not left:
    sys.exit(0)
pathlib.Path("w", left[0]).mkdir(parents=True)
sys.exit(1)
"""
    status, out = end(launch(text, 1, "--restarts", 9, job, "--workdir=w"))
    assert status == 0, out
    count, counts = 0, []
    for new in paths.values():
        count = 1 if new else count + 1
        counts.append(str(count))
    assert re.findall(r"restart (\d) of 9", out) == counts


def test_a_dry_run_says_what_would_be_run(launch):
    status, out = end(launch("sys.exit(1)", 2, "--dry-run", "train", "--workdir", "w"))
    assert status == 0
    assert out.splitlines() == [
        f"VIDEOJAM_COORDINATOR=localhost:PORT VIDEOJAM_PROCESSES=2 VIDEOJAM_PROCESS={i} "
        "videojam train --workdir w"
        for i in range(2)
    ]


def test_gpus_are_divided_and_devices_takes_the_cpu(launch, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "nvidia-smi").write_text("#!/bin/sh\nprintf 'GPU 0: x\\nGPU 1: x\\nGPU 2: x\\nGPU 3: x\\n'\n")
    (tools / "nvidia-smi").chmod(0o755)
    job = "print(*(os.environ.get(n) for n in ('CUDA_VISIBLE_DEVICES', 'JAX_PLATFORMS', 'XLA_FLAGS')), file=sys.stderr)"
    status, out = end(launch(job, 2, "train", JAX_PLATFORMS="cuda,cpu"))
    assert status == 0 and "[0] 0,1 cuda" in out and "[1] 2,3 cuda" in out
    status, out = end(launch(job, 3, "train", JAX_PLATFORMS="cuda,cpu"))
    assert status == 2 and "4 GPUs do not divide over 3 processes" in out
    status, out = end(launch(job, 3, "--devices", 5, "train", JAX_PLATFORMS="cuda,cpu"))
    assert status == 0
    assert re.search(r"^\[2\] None cpu .*--xla_force_host_platform_device_count=5$", out, re.M)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "N should be a whole number"),
        (["two", "train"], "not 'two'"),
        ([0, "train"], "at least 1"),
        ([2], "no JOB"),
        ([2, "--device", 3, "train"], "unknown option --device"),
        ([2, "--restarts", "often", "train"], "--restarts should be a whole number"),
    ],
)
def test_a_wrong_word_shows_the_usage(launch, words, message):
    status, out = end(launch("", *words))
    assert status == 2 and message in out and "usage: local_processes.sh N" in out


def test_a_limit_that_is_no_number_is_named(launch):
    status, out = end(launch("", 1, "train", RESTART_PAUSE="10s"))
    assert (status, out) == (2, "error: RESTART_PAUSE is '10s' but must be a whole number\n")


@pytest.mark.multiprocess
def test_two_real_processes_train_lose_one_and_are_started_again(launch, tmp_path):
    status, said = tiny_run.here_alone(*tiny_run.words("prepare", "--workdir", tmp_path / "data"))
    assert status == 0, said
    workdir = tmp_path / "run"
    job = tiny_run.words("train", "--workdir", workdir, "--config.train.log_every=1")
    options = ["--config.train.steps=12", "--config.train.checkpoint_every=2"]
    mesh = ["--config.mesh.data=2", "--config.mesh.fsdp=-1"]
    process = launch(None, 2, "--devices", 2, "--restarts", 1, *job, *options, *mesh)
    tiny_run.read_until(process, r"^\[0\] .*step 5/")
    log = (workdir / "logs" / "train_00001.log").read_text()
    os.kill(int(re.search(r"pid (\d+)", log)[1]), signal.SIGKILL)
    status, out = end(process)
    assert status == 0, out
    assert "process 1 ended with status 137" in out
    assert "restart 1 of 1 without a new checkpoint, in 10 s: status 75" in out
    assert re.search(r"^\[0\] going on from .*checkpoints/\d+$", out, re.M)
    assert re.search(r"^\[0\] trained to step 12", out, re.M)
    assert not re.search(r"^\[1\] step", out, re.M), "process 0 alone tells of the steps"
