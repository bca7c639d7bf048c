"""launch/tpu_vm.sh and the tpu_worker.sh it runs on each worker.

The cloud is played by a script in the place of `gcloud`. Its workers are folders: what is
copied to a worker lands there, and a command for all workers runs in each with that folder
as its home, by the real tpu_worker.sh.
"""

import os
import pathlib
import shlex
import shutil
import signal
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = ["--name", "mine", "--zone", "us-east5-a"]
PAIR = [*PLACE, "--type", "v5litepod-8", "--slices", "2", "--bucket", "store"]
JOBS = {
    "prepare": ["--config", "configs/quickstart.py", "--workdir", "/bucket/data"],
    "train": ["--config", "configs/quickstart.py:base", "--workdir=/bucket/base"],
    "sample": ["--workdir", "/bucket/base", "--prompt", "it's a red disc; $HOME"],
    "report": ["--workdir", "/bucket/all"],
    "evaluate": ["--config", "configs/experiments/ablation.py:small", "--workdir", "/bucket/all"],
}

GCLOUD = """#!/bin/bash
cd "$CLOUD"
echo "$*" >>gcloud.log
shift 3
verb=$1
for word; do
  case $word in
    --command=*) command=${word#--command=} ;;
  esac
done
case $verb in
  create | delete) echo "$verb" >>life.log ;;
  # The first line is the next answer; the last one stays.
  describe) [[ ! -e mute ]] || exit 1; head -n 1 states; (($(wc -l <states) == 1)) || sed -i 1d states ;;
  scp) for worker in worker-*; do cp "$2" "$worker/${3#*:}"; done ;;
  ssh)
    [[ ! -e dead ]] || exit 255
    pids=()
    workers=(worker-*)
    # A connection that breaks while it waits.
    if [[ $command == *" wait" && -s broken ]]; then
      sed -i 1d broken
      workers=(worker-0)
    fi
    for worker in "${workers[@]}"; do
      (cd "$worker" && HOME=$PWD bash -c "$command") &
      pids+=($!)
    done
    first=0
    for pid in "${pids[@]}"; do
      status=0
      wait "$pid" || status=$?
      ((first)) || first=$status
    done
    exit "$first" ;;
esac
"""

# Makes the environment that tpu_worker.sh would make with uv and pip. Its `videojam` notes
# its arguments and ends with the statuses of the file `statuses`, one a start.
PYTHON3 = """#!/bin/bash
mkdir -p .venv/bin "$HOME/.local/bin"
printf '#!/bin/bash\\nexit 0\\n' | tee .venv/bin/python >"$HOME/.local/bin/uv"
cp "$CLOUD/videojam" .venv/bin/videojam
chmod +x .venv/bin/* "$HOME/.local/bin/uv"
"""
VIDEOJAM = """#!/bin/bash
printf '%s\\n' "$@" >"$HOME/words"
echo "${JAX_COMPILATION_CACHE_DIR:-}" >"$HOME/cache"
echo start >>"$HOME/starts"
starts=$(wc -l <"$HOME/starts")
[[ ! -e $CLOUD/saves ]] || mkdir -p "out/checkpoints/$starts"
if [[ -e $CLOUD/until-stopped ]]; then
  trap 'exit 75' TERM
  echo ready >"$HOME/ready"
  while :; do sleep 0.05; done
fi
if [[ -e $HOME/statuses ]]; then
  exit "$(sed -n "${starts}p" "$HOME/statuses")"
fi
"""


def tpu_vm(*words, **environment):
    return subprocess.run(
        ["bash", ROOT / "launch/tpu_vm.sh", *words],
        env={"PATH": os.environ["PATH"], "POLL_SECONDS": "0", "RESTART_SECOND": "0", **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


class Cloud:
    """Two workers, one to each of two slices."""

    def __init__(self, folder):
        self.folder = folder
        tools = folder / "bin"
        tools.mkdir()
        # sudo does nothing, so that no test mounts or makes anything outside its folder.
        scripts = {"gcloud": GCLOUD, "python3": PYTHON3, "sudo": "#!/bin/bash\n"}
        scripts["gcsfuse"] = '#!/bin/bash\necho "${@: -2}" >"$HOME/mounted"\n'
        for name, text in scripts.items():
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        (folder / "videojam").write_text(VIDEOJAM)
        self.set_states("ACTIVE")
        self.workers = [folder / "worker-0", folder / "worker-1"]
        for worker in self.workers:
            worker.mkdir()
        self.environment = {"CLOUD": str(folder), "PATH": f"{tools}:{os.environ['PATH']}"}

    def __call__(self, *words):
        return tpu_vm(*words, **self.environment)

    def set_states(self, *states):
        (self.folder / "states").write_text("".join(f"{state}\n" for state in states))

    def end_with(self, worker, *statuses):
        text = "".join(f"{status}\n" for status in statuses)
        (self.workers[worker] / "statuses").write_text(text)

    def starts(self):
        files = [worker / "starts" for worker in self.workers]
        return [len(file.read_text().split()) if file.exists() else 0 for file in files]

    def life(self):
        return (self.folder / "life.log").read_text().split()


@pytest.fixture
def cloud(tmp_path):
    return Cloud(tmp_path)


@pytest.fixture
def copied(cloud):
    assert cloud("copy", *PLACE, "--bucket", "store").returncode == 0
    return cloud


@pytest.mark.parametrize("job", JOBS)
def test_dry_run_prints_each_command_and_runs_none(job, tmp_path):
    # No gcloud on this PATH.
    for name in ("bash", "dirname", "mktemp", "rm"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    result = tpu_vm(
        "all", "--dry-run", *PLACE, "--type=v5p-256", "--slices=2", "--bucket=store",
        "--project=lab", "--spot", "--create-flag=--network=wide", "--", job, *JOBS[job],
        PATH=str(tmp_path),
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    commands = [shlex.split(line[2:]) for line in result.stdout.splitlines() if line[0] == "$"]
    prefix = ["gcloud", "compute", "tpus", "queued-resources"]
    verbs = [words[4] if words[:4] == prefix else words[0] for words in commands]
    assert verbs == ["create", "tar", "scp", "ssh", "ssh", "ssh", "ssh", "delete"]
    assert commands[0][5:] == [
        "mine", "--zone=us-east5-a", "--project=lab", "--accelerator-type=v5p-256",
        "--runtime-version=v2-alpha-tpuv5", "--node-count=2", "--node-prefix=mine", "--spot",
        "--network=wide",
    ]  # fmt: skip
    assert all("--zone=us-east5-a" in words for words in commands if words[0] == "gcloud")
    start = commands[4]
    assert {"--node=all", "--worker=all", "--batch-size=all"} <= set(start)
    assert shlex.split(start[-1].removeprefix("--command=")) == [
        "bash", "videojam_jax/launch/tpu_worker.sh", "start", job, *JOBS[job],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "runtime", "said"),
    [
        ("v5p-8", "v2-alpha-tpuv5", "4 chips on 1 worker(s)"),
        ("v5p-256", "v2-alpha-tpuv5", "128 chips on 32 worker(s)"),
        ("v4-32", "tpu-ubuntu2204-base", "16 chips on 4 worker(s)"),
        ("v5litepod-1", "v2-alpha-tpuv5-lite", "1 chips on 1 worker(s)"),
        ("v5litepod-8", "v2-alpha-tpuv5-lite", "8 chips on 1 worker(s)"),
        ("v5litepod-16", "v2-alpha-tpuv5-lite", "16 chips on 4 worker(s)"),
        ("v6e-256", "v2-alpha-tpuv6e", "256 chips on 64 worker(s)"),
    ],
)
def test_type_tells_chips_workers_and_runtime(kind, runtime, said):
    result = tpu_vm("create", "--dry-run", *PLACE, "--type", kind)
    assert result.returncode == 0, result.stderr
    assert said in result.stdout
    assert f"--runtime-version={runtime} --node-id=mine\n" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "COMMAND is ''"),
        (["make"], "COMMAND is 'make'"),
        (["create", "--zone", "z"], "needs --name"),
        (["create", "--name", "mine"], "needs --zone"),
        (["create", *PLACE], "needs --type"),
        (["create", *PLACE, "--type", "v9-8"], "--type is 'v9-8'"),
        (["create", *PLACE, "--type", "v5p-9"], "no slice of that size"),
        (["create", *PLACE, "--type", "v5p-big"], "is no number"),
        (["create", *PLACE, "--type"], "--type needs a value"),
        (["create", *PLACE, "--type", "v5p-8", "--slices", "0"], "--slices is '0'"),
        (["create", *PLACE, "--slice", "2"], "unknown option --slice"),
        (["run", *PAIR], "JOB is ''"),
        (["run", *PAIR, "--", "tran"], "JOB is 'tran'"),
        (["run", *PAIR, "--", "train", "--config", "c.py"], "needs --workdir"),
        (["run", *PAIR, "--", "train", "--workdir", "out"], "must be in /bucket"),
        (["run", *PAIR, "--", "train", "--workdir=gs://store/x"], "--workdir is a bucket"),
        (["all", *PAIR[:-2], "--", "train", "--workdir", "/bucket/x"], "needs --bucket"),
    ],
)
def test_mistake_is_one_line_and_status_2(words, said):
    result = tpu_vm(*words)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: ") and said in result.stderr


def test_one_worker_needs_no_bucket():
    job = ["report", "--workdir", "out"]
    result = tpu_vm("all", "--dry-run", *PLACE, "--type", "v5litepod-4", "--", *job)
    assert result.returncode == 0, result.stderr


def test_all_runs_the_job_on_every_worker_and_deletes_the_slices(cloud):
    result = cloud("all", *PAIR, "--", "sample", *JOBS["sample"])
    assert result.returncode == 0, result.stderr
    for worker in cloud.workers:
        assert (worker / "words").read_text().splitlines() == ["sample", *JOBS["sample"]]
        assert (worker / "mounted").read_text() == "store /bucket\n"
        assert (worker / "cache").read_text() == "/bucket/xla_cache\n"
        assert (worker / "videojam_jax/configs/quickstart.py").exists()
    assert cloud.starts() == [1, 1]
    assert cloud.life() == ["create", "delete"]


def test_job_is_started_again_on_all_workers_when_one_stops(copied):
    copied.end_with(0, 75, 134, 0)
    copied.end_with(1, 137, 75, 0)
    result = copied("run", *PAIR, "--", "train", *JOBS["train"])
    assert result.returncode == 0, result.stderr
    assert copied.starts() == [3, 3]
    assert "restart 1 of 20 without a new checkpoint, in 10 s: status 137" in result.stderr
    assert "restart 2 of 20 without a new checkpoint, in 20 s: status 134" in result.stderr


def test_mistake_of_one_worker_ends_the_job_for_good(copied):
    copied.end_with(0, 75)
    copied.end_with(1, 2)
    assert copied("run", *PAIR, "--", "train", *JOBS["train"]).returncode == 2
    assert copied.starts() == [1, 1]


def test_restarts_are_bounded(copied):
    copied.end_with(0, 75, 75, 75, 0)
    copied.end_with(1, 75, 75, 75, 0)
    result = copied("run", *PAIR, "--max-restarts", "2", "--", "train", *JOBS["train"])
    assert result.returncode == 75
    assert "started again 2 times (MAX_RESTARTS) without a new checkpoint" in result.stderr
    assert copied.starts() == [3, 3]


def test_a_start_that_brought_a_checkpoint_does_not_count(copied):
    alone = [*PLACE, "--type", "v5litepod-4", "--max-restarts", "1"]
    for worker in (0, 1):
        copied.end_with(worker, 75, 75, 75, 75, 0)
    (copied.folder / "saves").touch()
    result = copied("run", *alone, "--", "train", "--config", "c.py", "--workdir", "out")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("restart 1 of 1 without a new checkpoint, in 10 s") == 4


@pytest.mark.parametrize(("silence", "connections"), [("dead", 3), ("broken", 4)])
def test_workers_that_no_longer_answer_are_not_asked_for_ever(copied, silence, connections):
    (copied.folder / silence).write_text("a wait\n" * 100)
    before = (copied.folder / "gcloud.log").read_text().count(" ssh ")
    result = copied("run", *PAIR, "--max-restarts", "2", "--", "train", *JOBS["train"])
    assert result.returncode == 255
    assert "restart 2 of 2 without a new checkpoint, in 20 s: not all workers" in result.stderr
    assert "not all workers answer; started again 2 times" in result.stderr
    asked = (copied.folder / "gcloud.log").read_text().count(" ssh ") - before
    assert asked == connections, "with `broken` the first one starts the job, and then it waits"


def test_a_gcloud_that_does_not_answer_does_not_mean_that_the_slices_are_gone(copied):
    copied.end_with(0, 75, 0)
    copied.end_with(1, 75, 0)
    (copied.folder / "mute").touch()
    result = copied("run", *PAIR, "--", "train", *JOBS["train"])
    assert result.returncode == 0, result.stderr
    assert "taken away" not in result.stderr and copied.starts() == [2, 2]


def test_slices_that_could_not_be_deleted_are_told_of(cloud):
    gcloud = cloud.folder / "bin" / "gcloud"
    gcloud.write_text(GCLOUD.replace("create | delete)", "delete) exit 1 ;;\n  create)"))
    result = cloud("all", *PAIR, "--", "train", *JOBS["train"])
    assert result.returncode == 2
    assert "mine may still be there, and is paid for until it is deleted" in result.stderr


def test_broken_connection_restarts_nothing(copied):
    (copied.folder / "broken").write_text("a wait\n")
    result = copied("run", *PAIR, "--", "train", *JOBS["train"])
    assert result.returncode == 0, result.stderr
    assert "1 of 2 workers answered" in result.stderr
    assert copied.starts() == [1, 1]


def test_slices_that_are_taken_away_are_asked_for_again(cloud):
    # Active when created, suspended when the first start has ended, then active again.
    cloud.set_states("WAITING_FOR_RESOURCES", "ACTIVE", "SUSPENDED", "SUSPENDED", "ACTIVE")
    cloud.end_with(0, 137, 0)
    cloud.end_with(1, 137, 0)
    result = cloud("all", *PAIR, "--", "train", *JOBS["train"])
    assert result.returncode == 0, result.stderr
    assert cloud.life() == ["create", "delete", "create", "delete"]
    assert cloud.starts() == [2, 2]
    assert "restart 1 of 20 without a new checkpoint, in 10 s: the slices were" in result.stderr


def test_refused_request_is_an_error_and_deletes_nothing(cloud):
    gcloud = cloud.folder / "bin" / "gcloud"
    gcloud.write_text(GCLOUD.replace("create | delete)", "create) exit 1 ;;\n  delete)"))
    result = cloud("all", *PAIR, "--", "train", *JOBS["train"])
    assert result.returncode == 2
    assert "did not take the request" in result.stderr
    assert not (cloud.folder / "life.log").exists()


def worker_sh(cloud, worker, *words):
    home = cloud.workers[worker]
    return subprocess.run(
        ["bash", home / "videojam_jax/launch/tpu_worker.sh", *words],
        env=cloud.environment | {"HOME": str(home)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def wait_until_ready(worker):
    """`ready` is written by the job once it handles SIGTERM; bounded by the test's time limit."""
    while not (worker / "ready").exists():
        os.sched_yield()


def test_running_job_outlives_its_connection_and_is_found_again(copied):
    (copied.folder / "until-stopped").touch()
    job = ["train", *JOBS["train"]]
    for _ in range(2):
        assert worker_sh(copied, 0, "start", *job).returncode == 0
    other = worker_sh(copied, 0, "start", "report", "--workdir", "/bucket/x")
    assert other.returncode == 2
    assert "still runs 'videojam train" in other.stderr
    wait_until_ready(copied.workers[0])
    assert worker_sh(copied, 0, "stop").returncode == 0
    assert worker_sh(copied, 0, "wait").stdout == "worker progress 0\nworker status 75\n"
    assert copied.starts() == [1, 0]
    assert "videojam train" in worker_sh(copied, 0, "logs").stdout


def test_killed_job_has_a_status_that_restarts_it(copied):
    (copied.folder / "until-stopped").touch()
    worker_sh(copied, 0, "start", "train", *JOBS["train"])
    wait_until_ready(copied.workers[0])
    group = int((copied.workers[0] / "videojam_run/group").read_text())
    os.killpg(group, signal.SIGKILL)
    assert worker_sh(copied, 0, "wait").stdout == "worker progress 0\nworker status 137\n"


def test_worker_that_was_not_set_up_says_so(cloud):
    launch = cloud.workers[0] / "videojam_jax/launch"
    launch.mkdir(parents=True)
    for name in ("tpu_worker.sh", "restarts.sh"):
        shutil.copy(ROOT / "launch" / name, launch)
    result = worker_sh(cloud, 0, "start", "report", "--workdir", "/bucket/x")
    assert result.returncode == 2
    assert "not set up" in result.stderr and result.stderr.count("\n") == 1

