"""Another mesh, where the given one is not valid or the program does not fit."""

import dataclasses
import math
from collections.abc import Iterator

from ml_collections import FrozenConfigDict

from videojam_jax.config import loading, modelling
from videojam_jax.parallel.mesh import AXES
from videojam_jax.plan.chips import Device
from videojam_jax.plan.memory import estimated_temporary
from videojam_jax.plan.roofline import EFFICIENCY
from videojam_jax.train.throughput import step_flops

# Bytes of state a parameter: weights, moving average, second moment in float32, and the first.
STATE = 12
# What a step computes, for what it would without recomputation: another forward pass at most.
AGAIN = {"none": 1.0, "dots": 1.1, "attention": 1.25, "full": 4 / 3, "offload": 4 / 3}
# Of a device's memory, what a program may be expected to fill: estimates are rough, and the
# compiler's pieces leave gaps.
USABLE = 0.85


@dataclasses.dataclass(frozen=True)
class Proposal:
    """Keys to change in a config, and what the closed form says of it.

    Attributes:
      overrides: dotted key to value.
      bytes: on one device, of state and temporaries.
      seconds: of a step, computing and then sending; it orders proposals.
    """

    overrides: dict[str, object]
    bytes: float
    seconds: float

    def flags(self) -> str:
        """
        >>> Proposal({"mesh.fsdp": 32, "mesh.context": 2}, 0, 0).flags()
        '--config.mesh.fsdp=32 --config.mesh.context=2'
        """
        return " ".join(f"--config.{key}={value}" for key, value in self.overrides.items())


def change(config: FrozenConfigDict, overrides: dict[str, object]) -> FrozenConfigDict:
    """The config with some keys (`mesh.fsdp`) changed, checked again."""
    tree = config.to_dict()
    for key, value in overrides.items():
        *sections, name = key.split(".")
        section = tree
        for one in sections:
            section = section[one]
        section[name] = value
    return loading.resolve(tree)


def proposals(
    config: FrozenConfigDict, devices: int, slices: int, device: Device, parameters: int
) -> list[Proposal]:
    """Meshes (and, where none suffices, remat and parts of the batch), best first.

    All are valid for the config's batch, heads and tokens. Those that should fit in a
    device's memory, in the order of their time; if there are none, the smallest first.
    """
    found = []
    remats = dict.fromkeys((config.model.remat, "full"))
    for remat in remats:
        for accumulate in _divisors(config.train.batch_size):
            for mesh in meshes(config, devices, slices, accumulate):
                found.append(_judge(config, mesh, remat, accumulate, device, parameters))
    fit = [one for one in found if one.bytes <= USABLE * device.sheet.memory]
    if fit:
        # Times that are nearly the same say nothing; of these the smaller comes first.
        return sorted(fit, key=lambda one: (round(20 * math.log(one.seconds)), one.bytes))
    return sorted(found, key=lambda one: (one.bytes, one.seconds))


def next_to_try(left: list[Proposal], memory: float) -> Proposal:
    """The first of those that should fit in so much memory; the smallest where none does."""
    fit = (one for one in left if one.bytes <= USABLE * memory)
    return next(fit, None) or min(left, key=lambda one: one.bytes)


def meshes(
    config: FrozenConfigDict, devices: int, slices: int, accumulate: int
) -> Iterator[dict[str, int]]:
    """Every mesh of so many devices that batch, heads and tokens divide over."""
    heads, tokens = config.model.trunk.heads, modelling.token_count(config)
    for data in _divisors(devices):
        for fsdp in _divisors(devices // data):
            for context in _divisors(devices // (data * fsdp)):
                tensor = devices // (data * fsdp * context)
                if (
                    config.train.batch_size % (data * fsdp * accumulate) == 0
                    and heads % (context * tensor) == 0
                    and tokens % context == 0
                    and config.model.trunk.ffn % tensor == 0
                    and data % slices == 0
                ):
                    yield dict(zip(AXES, (data, fsdp, context, tensor), strict=True))


def _judge(config, mesh, remat, accumulate, device: Device, parameters: int) -> Proposal:
    overrides = {f"mesh.{axis}": size for axis, size in mesh.items()}
    if remat != config.model.remat:
        overrides["model.remat"] = remat
    if accumulate != config.train.accumulate:
        overrides["train.accumulate"] = accumulate
    changed = change(config, overrides)
    shards = mesh["fsdp"] * mesh["context"] * mesh["tensor"]
    state = (STATE + (2 if config.optimizer.first_moment_dtype == "bfloat16" else 4)) * parameters
    temporary = estimated_temporary(changed, mesh, parameters)
    flops = sum(step_flops(config).values()) * AGAIN[remat]
    computing = flops / (math.prod(mesh.values()) * device.flops * EFFICIENCY)
    sending = sent(changed, mesh, parameters) / (2 * device.sheet.link)
    return Proposal(
        overrides, state / shards + sum(temporary.values()), computing + sending
    )


def sent(config: FrozenConfigDict, mesh: dict[str, int], parameters: int) -> float:
    """Bytes that a device sends in one step, roughly, at 2 bytes a number.

    For every part of the batch: weights are gathered twice and gradients scattered once
    over fsdp x context; copies sum their gradients over data; four exchanges of the tokens
    a block and pass over context, and as many sums of them, twice as dear, over tensor.
    """
    trunk, parts = config.model.trunk, config.train.accumulate
    shards = mesh["fsdp"] * mesh["context"]
    weights = 2.0 * parameters / mesh["tensor"]
    total = parts * 3 * weights * (shards - 1) / shards
    total += 2 * parts * (weights / shards) * (mesh["data"] - 1) / mesh["data"]
    clips = config.train.batch_size / (mesh["data"] * mesh["fsdp"])
    tokens = 2.0 * clips * modelling.token_count(config) * trunk.width * trunk.blocks
    context, tensor = mesh["context"], mesh["tensor"]
    total += 3 * 4 * tokens / context * (context - 1) / context
    total += 3 * 8 * tokens / context * (tensor - 1) / tensor
    return total


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
