"""launch/render_gke.py: the JobSet, read back as Kubernetes would read it."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "launch/render_gke.py"
OPTIONS = {
    "--name": "base", "--image": "host/videojam:1", "--accelerator": "v5p",
    "--topology": "4x4x8", "--bucket": "mine",
}  # fmt: skip
JOBS = {
    "prepare": ["--config", "configs/quickstart.py", "--workdir", "/bucket/data"],
    "train": ["--config", "configs/quickstart.py:base", "--workdir=/bucket/base"],
    "sample": ["--workdir", "/bucket/base", "--prompt", "it's \"red\": #1, 5 $ and é"],
    "report": ["--workdir", "/bucket/all"],
    "evaluate": ["--config", "configs/experiments/ablation.py:small", "--workdir", "/bucket/all"],
}


def render(job, changes=None, dry_run=True, **keywords):
    options = OPTIONS | (changes or {})
    words = [word for pair in options.items() for word in pair]
    return subprocess.run(
        [sys.executable, SCRIPT, *words, *["--dry-run"] * dry_run, "--", *job],
        capture_output=True, text=True, encoding="utf-8", timeout=60, check=False, **keywords,
    )  # fmt: skip


def jobset(job=("report", "--workdir", "/bucket/all"), changes=None):
    result = render(job, changes)
    assert result.returncode == 0, result.stderr
    return yaml.safe_load(result.stdout)


def slice_of(document):
    (replicated,) = document["spec"]["replicatedJobs"]
    return replicated["replicas"], replicated["template"]["spec"]


def pod_of(document):
    return slice_of(document)[1]["template"]["spec"]


@pytest.fixture(scope="module")
def hosts_and_chips():
    spec = importlib.util.spec_from_file_location("render_gke", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.hosts_and_chips


@pytest.mark.parametrize("job", JOBS)
def test_every_pod_runs_the_command(job):
    (container,) = pod_of(jobset([job, *JOBS[job]]))["containers"]
    assert container["command"] == ["bash", "launch/gke_pod.sh", job, *JOBS[job]]


def test_kubernetes_does_not_expand_a_prompt():
    job = ["sample", "--workdir", "/bucket/base", "--prompt", "$(HOME)"]
    (container,) = pod_of(jobset(job))["containers"]
    assert container["command"][-1] == "$$(HOME)"


@pytest.mark.parametrize(
    ("accelerator", "topology", "hosts", "chips", "label"),
    [
        ("v5p", "4x4x8", 32, 4, "tpu-v5p-slice"),
        ("v5p", "2x2x1", 1, 4, "tpu-v5p-slice"),
        ("v4", "2x2x4", 4, 4, "tpu-v4-podslice"),
        ("v5e", "4x4", 4, 4, "tpu-v5-lite-podslice"),
        ("v6e", "2x4", 1, 8, "tpu-v6e-slice"),
    ],
)
@pytest.mark.parametrize("slices", [1, 2])
def test_slices_hosts_and_chips_are_those_of_the_topology(
    accelerator, topology, hosts, chips, label, slices
):
    changes = {"--accelerator": accelerator, "--topology": topology, "--slices": str(slices)}
    document = jobset(changes=changes)
    replicas, job = slice_of(document)
    assert (replicas, job["completions"], job["parallelism"]) == (slices, hosts, hosts)
    pod = pod_of(document)
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": chips}
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": label,
        "cloud.google.com/gke-tpu-topology": topology,
    }


@pytest.mark.parametrize(
    ("accelerator", "topology", "expected"),
    [
        ("v5e", "1x1", (1, 1)),
        ("v5e", "2x2", (1, 4)),
        ("v5e", "16x16", (64, 4)),
        ("v6e", "8x16", (32, 4)),
        ("v5p", "2x2x2", (2, 4)),
        ("v5p", "8x8x16", (256, 4)),
    ],
)
def test_hosts_of_a_slice(hosts_and_chips, accelerator, topology, expected):
    assert hosts_and_chips(accelerator, topology) == expected


def test_eight_chips_can_be_divided_between_two_hosts(hosts_and_chips):
    assert hosts_and_chips("v5e", "2x4", 4) == (2, 4)


def test_mistake_fails_the_set_and_all_else_restarts_it_as_often_as_the_pods_say():
    document = jobset(changes={"--max-restarts": "7"})
    rule, rest = document["spec"]["failurePolicy"]["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    assert rest == {"name": "again", "action": "RestartJobSetAndIgnoreMaxRestarts"}
    variables = {entry["name"]: entry for entry in pod_of(document)["containers"][0]["env"]}
    assert variables["MAX_RESTARTS"]["value"] == "7"
    for name, annotation in (
        ("JOBSET_RESTART_ATTEMPT", "restart-attempt"), ("JOBSET_JOB_INDEX", "job-index"),
    ):  # fmt: skip
        path = variables[name]["valueFrom"]["fieldRef"]["fieldPath"]
        assert path == f"metadata.annotations['jobset.sigs.k8s.io/{annotation}']"
    job = slice_of(document)[1]
    (pod_rule,) = job["podFailurePolicy"]["rules"]
    assert pod_rule["action"] == "FailJob" and pod_rule["onExitCodes"]["values"] == [2]
    # The rule is for a container that is there, and Kubernetes allows it only so.
    (container,) = pod_of(document)["containers"]
    assert pod_rule["onExitCodes"]["containerName"] == container["name"]
    assert (job["backoffLimit"], pod_of(document)["restartPolicy"]) == (0, "Never")


def test_bucket_is_mounted_where_the_job_writes():
    document = jobset(changes={"--bucket": "gs://mine/"})
    pod = pod_of(document)
    (volume,) = pod["volumes"]
    (mount,) = pod["containers"][0]["volumeMounts"]
    assert volume["csi"]["volumeAttributes"]["bucketName"] == "mine"
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/bucket")
    annotations = slice_of(document)[1]["template"]["metadata"]["annotations"]
    # The driver looks for the word, not for YAML's truth.
    assert annotations["gke-gcsfuse/volumes"] == "true"


def test_the_bucket_is_not_held_back_by_the_limits_of_its_driver():
    annotations = slice_of(jobset())[1]["template"]["metadata"]["annotations"]
    for what in ("cpu", "memory", "ephemeral-storage"):
        assert annotations[f"gke-gcsfuse/{what}-limit"] == "0", "a word, which YAML must not read"


def test_the_image_has_what_a_pod_runs():
    lines = (ROOT / "launch/Dockerfile").read_text().splitlines()
    (copied,) = (line.split()[1:-1] for line in lines if line.startswith("COPY launch/"))
    script = jobset()["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert set(copied) == {script["containers"][0]["command"][1], "launch/restarts.sh"}
    assert all((ROOT / path).exists() for path in copied)


@pytest.fixture
def pod(tmp_path):
    """`pod(start, index, ...)`: a pod of the job's start of that number, whose end it returns."""
    videojam = tmp_path / "videojam"
    videojam.write_text('#!/bin/bash\necho "videojam $*"\nexit 75\n')
    videojam.chmod(0o755)

    def run(start, index=0, **variables):
        return subprocess.Popen(
            ["bash", ROOT / "launch/gke_pod.sh", "train", "--workdir", tmp_path / "run"],
            env={
                "PATH": f"{tmp_path}:{os.environ['PATH']}", "RESTART_SECOND": "0",
                "JOBSET_RESTART_ATTEMPT": str(start), "JOB_COMPLETION_INDEX": str(index),
                "JOBSET_JOB_INDEX": "0", **variables,
            },
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def end(*arguments, **variables):
        process = run(*arguments, **variables)
        out, error = process.communicate(timeout=60)
        return process.returncode, out, error

    end.begin, end.workdir = run, tmp_path / "run"
    return end


def test_a_pod_runs_the_job_and_counts_starts_without_a_new_checkpoint(pod):
    assert pod(0) == (75, f"videojam train --workdir {pod.workdir}\n", "")
    for start, pause in ((1, 10), (2, 20)):
        status, out, error = pod(start, MAX_RESTARTS="2")
        assert status == 75 and out.startswith("videojam")
        assert f"restart {start} of 2 without a new checkpoint, in {pause} s: start {start}" in error
    status, out, error = pod(3, MAX_RESTARTS="2")
    assert (status, out) == (2, "")
    assert "started again 2 times (MAX_RESTARTS) without a new checkpoint" in error
    (pod.workdir / "checkpoints" / "500").mkdir(parents=True)
    assert "restart 1 of 2 without a new checkpoint, in 10 s" in pod(4, MAX_RESTARTS="2")[2]


def test_all_pods_of_a_start_come_to_the_same_count_whichever_comes_first(pod):
    pod(0)
    for start in (1, 2, 3):
        order = (1, 0, 2) if start != 2 else (0, 1, 2)
        for index in order:
            assert f"restart {start} of 20 " in pod(start, index)[2], (start, index)


def test_a_damaged_count_begins_anew(pod):
    pod(0)
    (pod.workdir / "restarts").write_text("3 a[0] ")
    assert "restart 1 of 20 " in pod(4)[2]


def test_a_new_jobset_begins_to_count_anew(pod):
    pod(0), pod(1), pod(2), pod(0)
    assert "restart 1 of 20 " in pod(1)[2]


def test_a_pod_that_is_stopped_in_the_pause_ends(pod):
    pod(0)
    process = pod.begin(1, RESTART_PAUSE="600", RESTART_SECOND="0.1")
    assert "in 600 s" in process.stderr.readline()
    process.terminate()
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (75, "")


@pytest.mark.parametrize(
    ("job", "changes", "said"),
    [
        ([], {}, "JOB is ''"),
        (["tran", "--workdir", "/bucket/x"], {}, "JOB is 'tran'"),
        (["train", "--config", "c.py"], {}, "--workdir is ''"),
        (["train", "--workdir", "out"], {}, "must be in /bucket"),
        (["train", "--workdir", "gs://mine/x"], {}, "must be in /bucket"),
        (["report", "--workdir", "/bucket/x"], {"--name": "My_run"}, "--name is 'My_run'"),
        (["report", "--workdir", "/bucket/x"], {"--topology": "4x4"}, "those of 3 sides"),
        (["report", "--workdir", "/bucket/x"], {"--topology": "4by4"}, "must be like"),
        (["report", "--workdir", "/bucket/x"], {"--topology": "1x1x6"}, "cannot be divided"),
        (["report", "--workdir", "/bucket/x"], {"--accelerator": "v9"}, "v5p"),
        (["report", "--workdir", "/bucket/x"], {"--slices": "0"}, "--slices must be 1 or more"),
        (["report", "--workdir", "/bucket/x"], {"--slices": "two"}, "two"),
    ],
)
def test_wrong_option_is_one_line_and_status_2(job, changes, said):
    result = render(job, changes)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: ") and said in result.stderr


def test_jobset_is_given_to_kubectl(tmp_path):
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\ncd "${0%/*}"\necho "$*" >words\ncat >input\nexit 3\n')
    kubectl.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    job = ["report", "--workdir", "/bucket/all"]
    result = render(job, dry_run=False, env=environment)
    assert result.returncode == 3
    assert (tmp_path / "words").read_text() == "apply -f -\n"
    assert (tmp_path / "input").read_text("utf-8") == render(job).stdout


def test_missing_kubectl_is_one_line(tmp_path):
    job = ["report", "--workdir", "/bucket/all"]
    result = render(job, dry_run=False, env={"PATH": str(tmp_path)})
    assert result.returncode == 2
    assert result.stderr.startswith("error: no 'kubectl'") and result.stderr.count("\n") == 1
