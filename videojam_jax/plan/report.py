"""A plan as tables for people and as JSON for programs."""

import collections
import dataclasses
from typing import Any

from videojam_jax.config import modelling
from videojam_jax.plan.plan import Job, Plan
from videojam_jax.plan.roofline import ASSUMPTIONS, EFFICIENCY
from videojam_jax.plan.tables import Table, quantity
from videojam_jax.sample.generate import sampler_batch

SMALL = 0.001  # collectives that send less than this share of all are summed in one row


def tables(plan: Plan) -> list[Table]:
    """What is printed, in the order of the questions a person asks."""
    return [
        _verdict(plan),
        _parameters(plan),
        _flops(plan),
        _memory(plan),
        _collectives("Collectives of a training step", plan.train),
        _time(plan),
        _sampler(plan),
        _collectives("Collectives of the sampler", plan.sample),
    ]


def to_json(plan: Plan) -> dict[str, Any]:
    """The same numbers, unrounded: bytes, seconds, FLOPs; of one device where it says so."""

    def job(one: Job) -> dict[str, Any]:
        return {
            "fits": one.program.fits,
            "refusal": one.program.refusal,
            "compile_seconds": one.program.seconds,
            "bytes_per_device": one.program.needs and dataclasses.asdict(one.program.needs),
            "flops": one.flops,
            "collectives": [
                {
                    "kind": kind, "done_as": done_as, "axes": list(axes), "carries": carries,
                    "times": row.times, "largest_bytes": row.largest,
                    "sent_bytes_per_device": row.sent,
                }
                for (kind, done_as, axes, carries), row in summed(one).items()
            ],
            "seconds": one.roofline
            and {
                **dataclasses.asdict(one.roofline),
                "at_best": one.roofline.at_best,
                "at_worst": one.roofline.at_worst,
            },
        }  # fmt: skip

    return {
        "devices": plan.mesh.size,
        "device_kind": plan.device_kind,
        "mesh": dict(plan.mesh.shape),
        "problem": plan.problem,
        "proposal": plan.proposal and plan.proposal.overrides,
        "parameters": plan.counted,
        "parameters_closed_form": plan.expected,
        "model_flops": plan.model_flops,
        "model_flops_closed_form": plan.expected_flops,
        "state_bytes_per_device": plan.state,
        "batch_bytes_per_device": plan.batch,
        "estimated_temporary_bytes_per_device": plan.estimate,
        "training_step": job(plan.train),
        "sampler": job(plan.sample),
        "assumptions": list(ASSUMPTIONS),
    }


def _verdict(plan: Plan) -> Table:
    mesh = ", ".join(f"{name}={size}" for name, size in plan.mesh.shape.items())
    config, jobs = plan.config, (plan.train, plan.sample)
    rows = [
        ["devices", f"{plan.mesh.size} x {plan.device_kind}"],
        ["mesh", mesh],
        ["batch", f"{config.train.batch_size} clips"
         + (f" in {config.train.accumulate} parts" if config.train.accumulate > 1 else "")],
        ["remat", config.model.remat],
        ["training step", _fits(plan, plan.train)],
        ["sampler", _fits(plan, plan.sample)],
        ["compiled in", " and ".join(f"{job.program.seconds:.0f} s" for job in jobs)],
    ]  # fmt: skip
    notes = []
    if plan.problem:
        notes = [f"as given: {plan.problem}", f"all that follows is with {plan.proposal.flags()}"]
    return Table("Plan", ["what", ""], rows, notes)


def _fits(plan: Plan, job: Job) -> str:
    if not job.program.fits:
        return f"DOES NOT FIT: {job.program.refusal}"
    needed = quantity(job.program.needs.total, "B")
    if plan.device is None:
        return f"compiles, {needed} a device"
    return f"fits, {needed} of {quantity(plan.device.sheet.memory, 'B')} a device"


def _parameters(plan: Plan) -> Table:
    total, expected = sum(plan.counted.values()), sum(plan.expected.values())
    rows = [
        [module, f"{count:,}", f"{plan.expected.get(module, 0):,}", f"{count / total:.1%}"]
        for module, count in sorted(plan.counted.items(), key=lambda item: -item[1])
    ]
    trunk = sum(count for module, count in plan.counted.items() if module.startswith("trunk/"))
    cross = plan.counted["trunk/blocks/cross_attention"]
    rows.append(["all", f"{total:,}", f"{expected:,}", ""])
    notes = [
        (f"{total / 1e9:.2f} B in all, of which the trunk {trunk / 1e9:.2f} B, and the trunk "
        f"without cross-attention {(trunk - cross) / 1e9:.2f} B"),
        "counted: every trained array; frozen autoencoders and text encoders are not in it",
        *modelling.proportions(plan.config),
    ]
    return Table("Parameters", ["module", "in the program", "closed form", "share"], rows, notes)


def _flops(plan: Plan) -> Table:
    model, expected = sum(plan.model_flops.values()), sum(plan.expected_flops.values())
    rows = [
        [
            module or "w_in and w_out",
            quantity(count),
            quantity(plan.expected_flops[module]) if module in plan.expected_flops else "-",
            f"{count / model:.1%}",
        ]
        for module, count in sorted(plan.model_flops.items(), key=lambda item: -item[1])
    ]
    rows.append(["all", quantity(model), quantity(expected), ""])
    again = plan.train.flops - model
    clips = plan.config.train.batch_size
    notes = [
        f"the program's count is {model / expected - 1:+.2%} of the closed form's",
        (f"{quantity(model / clips)} a clip; {quantity(plan.train.flops)} with what is computed "
        f"again (remat, attention's backward kernel): {again / model:+.0%}"),
        "the closed form is what `train` divides by for MFU",
    ]
    columns = ["module", "in the program", "closed form", "share"]
    return Table("FLOPs of a training step, forward and backward", columns, rows, notes)


def _memory(plan: Plan) -> Table:
    rows = [[part, quantity(count, "B")] for part, count in plan.state.items()]
    rows.append(["batch", quantity(plan.batch, "B")])
    notes = []
    program = plan.train.program
    if program.fits:
        needs = program.needs
        rows += [
            ["the compiler: arguments", quantity(needs.arguments, "B")],
            ["the compiler: new outputs", quantity(needs.outputs, "B")],
            ["the compiler: temporary (activations, gradients, gathered weights)",
             quantity(needs.temporary, "B")],
            ["the compiler: code", quantity(needs.code, "B")],
            ["the compiler: all", quantity(needs.total, "B")],
        ]  # fmt: skip
        if needs.host:
            rows.append(["the compiler: in the host's memory", quantity(needs.host, "B")])
    if plan.device is not None:
        rows.append(["a device has", quantity(plan.device.sheet.memory, "B")])
    parts = ", ".join(f"{part} {quantity(count, 'B')}" for part, count in plan.estimate.items())
    total = quantity(sum(plan.estimate.values()), "B")
    notes.append(f"the closed form's guess at what is temporary: {total} ({parts})")
    return Table("Bytes of one device", ["what", "bytes"], rows, notes)


@dataclasses.dataclass
class _Sum:
    times: int = 0
    largest: float = 0.0
    sent: float = 0.0
    dtypes: set[str] = dataclasses.field(default_factory=set)


def summed(job: Job) -> dict[tuple[str, str, tuple[str, ...], str], _Sum]:
    """Collectives of a kind, along the same axes and with the same purpose, together."""
    sums: dict[tuple, _Sum] = collections.defaultdict(_Sum)
    for one in job.collectives:
        row = sums[one.kind, one.done_as, one.axes, one.carries]
        row.times += one.times
        row.largest = max(row.largest, one.shape.bytes)
        row.sent += one.sent
        row.dtypes.add(one.shape.dtype)
    return dict(sorted(sums.items(), key=lambda item: -item[1].sent))


def _collectives(title: str, job: Job) -> Table:
    sums = summed(job)
    all_sent = sum(row.sent for row in sums.values())
    rows, rest = [], _Sum()
    for (kind, done_as, axes, carries), row in sums.items():
        if row.sent < SMALL * all_sent:
            rest.times, rest.sent = rest.times + row.times, rest.sent + row.sent
            rest.largest = max(rest.largest, row.largest)
            continue
        rows.append([
            f"{kind} of {carries}", "" if done_as == kind else done_as, " + ".join(axes),
            " ".join(sorted(row.dtypes)), f"{row.times:,}", quantity(row.largest, "B"),
            quantity(row.sent, "B"),
        ])  # fmt: skip
    if rest.times:
        rows.append([
            "smaller ones", "", "", "", f"{rest.times:,}", quantity(rest.largest, "B"),
            quantity(rest.sent, "B"),
        ])  # fmt: skip
    notes = [f"a device sends {quantity(all_sent, 'B')} in all, by ring algorithms"] if rows else [
        "none" if job.program.fits else "not known: it did not fit"
    ]  # fmt: skip
    if any(done_as != kind for kind, done_as, _, _ in sums):
        notes.append(
            "done as all-reduce: the compiler lays shards into zeros and adds them up, or adds "
            "up everywhere and each device keeps its slice; what is sent is counted so"
        )
    columns = ["what", "done as", "along", "in", "times", "largest", "sent by a device"]
    return Table(title, columns, rows, notes)


def _time(plan: Plan) -> Table:
    times = plan.train.roofline
    if times is None:
        return Table("Time of a training step", [], [], ["not known for these devices"])
    rows = [
        [f"products, at {EFFICIENCY:.0%} of the peak", quantity(times.arithmetic, "s")],
        ["HBM", quantity(times.memory, "s")],
        *[[f"collectives along {axes}", quantity(t, "s")] for axes, t in times.network.items()],
        ["a step, if all overlaps", quantity(times.at_best, "s")],
        ["a step, if no sending overlaps", quantity(times.at_worst, "s")],
    ]
    peak = plan.device.flops * plan.mesh.size
    model = sum(plan.model_flops.values())
    mfu = [f"{model / (peak * t):.0%}" for t in (times.at_worst, times.at_best)]
    notes = [
        (f"bound by {times.bound}; {mfu[0]} to {mfu[1]} of the peak in products that are not "
        f"computed again"),
        *(f"assumed: {sentence}" for sentence in ASSUMPTIONS),
    ]
    return Table("Time of a training step (estimated, not measured)", ["what", "time"], rows, notes)


def _sampler(plan: Plan) -> Table:
    section, program, times = plan.config.sample, plan.sample.program, plan.sample.roofline
    rows = [
        ["clips at once", str(sampler_batch(plan.config, plan.mesh))],
        ["sampling steps", str(section.steps)],
        ["FLOPs", quantity(plan.sample.flops)],
    ]
    if program.fits:
        rows += [
            ["parameters and inputs", quantity(program.needs.arguments, "B")],
            ["temporary", quantity(program.needs.temporary, "B")],
            ["the compiler: all", quantity(program.needs.total, "B")],
        ]
    if times is not None:
        rows.append(["time, if all overlaps", quantity(times.at_best, "s")])
        rows.append(["time, if no sending overlaps", quantity(times.at_worst, "s")])
    return Table("The sampler, from noise to latents", ["what", "value"], rows)
