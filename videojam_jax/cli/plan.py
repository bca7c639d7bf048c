"""What a config asks of a machine that need not be here, by that machine's own compiler."""

import json
import os
import sys
from pathlib import Path

from videojam_jax.cli.words import add_config, config_of_clips
from videojam_jax.errors import UserError


def words(parser) -> None:
    add_config(parser)
    machine = parser.add_mutually_exclusive_group(required=True)
    machine.add_argument("--topology", metavar="NAME", help="of TPUs, v5p:4x4x8 say")
    machine.add_argument("--platform", metavar="cpu:N", help="N simulated devices")
    parser.add_argument("--slices", type=int, default=1, metavar="N", help="of that topology")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there too")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables there too")


def run(arguments) -> None:
    from videojam_jax.plan.environment import environment

    if arguments.platform and arguments.slices != 1:
        raise UserError("plan: --slices goes with --topology")
    # Before anything imports jax.
    os.environ.update(environment(arguments.topology, arguments.platform, os.environ))
    config = config_of_clips(arguments)
    from videojam_jax.plan import report, tables, topology
    from videojam_jax.plan.plan import plan

    devices = topology.devices(arguments.topology, arguments.platform, arguments.slices)
    found = plan(config, devices, tell=lambda line: print(line, file=sys.stderr, flush=True))
    print(tables.to_text(report.tables(found)))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report.to_json(found), indent=2) + "\n")
        print(f"wrote {arguments.json}")
    if arguments.markdown:
        title = f"# {arguments.config} on {topology.name(devices)}\n\n"
        Path(arguments.markdown).write_text(title + tables.to_markdown(report.tables(found)))
        print(f"wrote {arguments.markdown}")
