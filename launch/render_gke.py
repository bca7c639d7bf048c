#!/usr/bin/env python3
"""One job on TPU slices of a GKE cluster: fills in gke_jobset.yaml and gives it to kubectl.

    python launch/render_gke.py --name base --image IMAGE --accelerator v5p --topology 4x4x8 \\
        --slices 2 --bucket BUCKET -- train --config FILE.py --workdir /bucket/base

With --dry-run the JobSet is printed and nothing is sent. JOB is prepare, train, sample, report
or evaluate; what follows are the arguments of `videojam JOB`. Needs Python alone.
"""

import argparse
import json
import math
import os
import re
import string
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, NoReturn

JOBS = ("prepare", "train", "sample", "report", "evaluate")
TEMPLATE = Path(__file__).with_name("gke_jobset.yaml")


class Tpu(NamedTuple):
    """A kind of TPU on GKE: the label of its nodes, and how many axes its topologies have."""

    label: str
    axes: int


TPUS = {
    "v4": Tpu("tpu-v4-podslice", 3),
    "v5e": Tpu("tpu-v5-lite-podslice", 2),
    "v5p": Tpu("tpu-v5p-slice", 3),
    "v6e": Tpu("tpu-v6e-slice", 2),
}


def hosts_and_chips(
    accelerator: str, topology: str, chips_per_host: int | None = None
) -> tuple[int, int]:
    """(hosts, chips on each) of a slice; ValueError when there is no such slice.

    A host has four chips, or all of them where they are fewer. The 2x4 of v5e and v6e is one
    host with eight; `chips_per_host` = 4 is for node pools that divide it between two.
    """
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", topology):
        raise ValueError(f"--topology is {topology!r} but must be like 4x8 or 4x4x8")
    sides = [int(side) for side in topology.split("x")]
    axes = TPUS[accelerator].axes
    if len(sides) != axes:
        raise ValueError(f"--topology is {topology!r}, but {accelerator} has those of {axes} sides")
    chips = math.prod(sides)
    if chips_per_host is None:
        chips_per_host = 8 if axes == 2 and chips == 8 else min(chips, 4)
    if chips % chips_per_host:
        raise ValueError(f"{chips} chips cannot be divided among hosts of {chips_per_host}")
    return chips // chips_per_host, chips_per_host


def check_job(job: list[str]) -> None:
    """ValueError unless `job` is a job of `videojam` with its --workdir in the bucket."""
    if not job or job[0] not in JOBS:
        given = job[0] if job else ""
        jobs = ", ".join(JOBS)
        raise ValueError(f"JOB is {given!r} but must be one of {jobs}: ... -- JOB ARGS...")
    workdir = next(
        (
            word.removeprefix("--workdir").removeprefix("=") or following
            for word, following in zip(job, [*job[1:], ""], strict=True)
            if word == "--workdir" or word.startswith("--workdir=")
        ),
        "",
    )
    if not workdir.startswith("/bucket/"):
        raise ValueError(
            f"--workdir is {workdir!r} but must be in /bucket, where the pods have --bucket: "
            "what is elsewhere goes with the pod"
        )


def render(options: argparse.Namespace, job: list[str]) -> str:
    """The JobSet as YAML; ValueError names the option that is wrong."""
    check_job(job)
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", options.name):
        raise ValueError(
            f"--name is {options.name!r} but must be up to 40 of a-z, 0-9 and '-', a letter first"
        )
    for name, least in (("slices", 1), ("max_restarts", 0)):
        if getattr(options, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} must be {least} or more")
    hosts, chips = hosts_and_chips(options.accelerator, options.topology, options.chips_per_host)
    values = {
        "name": options.name,
        "image": options.image,
        "service_account": options.service_account,
        "bucket": options.bucket.removeprefix("gs://").rstrip("/"),
        "accelerator": TPUS[options.accelerator].label,
        "topology": options.topology,
        "slices": options.slices,
        "max_restarts": str(options.max_restarts),
        "hosts": hosts,
        "chips_per_host": chips,
        # Kubernetes would put a variable's value for $(NAME).
        "command": ["bash", "launch/gke_pod.sh", *(word.replace("$(", "$$(") for word in job)],
    }
    # JSON is YAML: whatever is in a prompt or a path comes out as it went in.
    text = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
    return string.Template(TEMPLATE.read_text("utf-8")).substitute(text)


class OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def parser() -> argparse.ArgumentParser:
    flags = OneLineParser(description=__doc__, allow_abbrev=False,
                          formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    flags.add_argument("--name", required=True, help="of the JobSet; one at a time in a namespace")
    flags.add_argument("--image", required=True, help="built from launch/Dockerfile and pushed")
    flags.add_argument("--accelerator", required=True, choices=TPUS, help="kind of TPU")
    flags.add_argument("--topology", required=True, help="of a slice, as its node pool has it")
    flags.add_argument("--slices", type=int, default=1, help="node pools to use; default: 1")
    flags.add_argument("--chips-per-host", type=int, choices=(1, 4, 8), help="default: by topology")
    flags.add_argument("--bucket", required=True, help="seen by every pod as /bucket")
    flags.add_argument("--service-account", default="default", help="that may use the bucket")
    flags.add_argument("--max-restarts", type=int, default=os.environ.get("MAX_RESTARTS", "20"),
                       help="without a new checkpoint; default: MAX_RESTARTS or 20")  # fmt: skip
    flags.add_argument("--dry-run", action="store_true", help="print the JobSet, send nothing")
    return flags


def main(argv: list[str]) -> int:
    flags = parser()
    split = argv.index("--") if "--" in argv else len(argv)
    options, job = flags.parse_args(argv[:split]), argv[split + 1 :]
    try:
        text = render(options, job)
    except ValueError as error:
        flags.error(str(error))
    if options.dry_run:
        print(text, end="")
        return 0
    try:
        return subprocess.run(
            ["kubectl", "apply", "-f", "-"], input=text, text=True, check=False
        ).returncode
    except FileNotFoundError:
        flags.error("no 'kubectl' command: https://kubernetes.io/docs/tasks/tools")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
