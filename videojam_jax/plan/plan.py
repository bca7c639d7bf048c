"""`videojam plan`: what a config asks of a machine, told by the machine's own compiler.

Nothing runs and no array is made: the programs of `train` and `sample` are traced and
compiled for devices that need not be here, and the rest is read from them.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import FrozenConfigDict

from videojam_jax.config import modelling
from videojam_jax.errors import UserError
from videojam_jax.parallel.mesh import slice_count
from videojam_jax.parallel.parameters import abstract_params
from videojam_jax.parallel.rules import batch_sharding, replicated
from videojam_jax.plan import closed_form, flops, memory, parameters, topology
from videojam_jax.plan.chips import SHEETS, Device, device_of
from videojam_jax.plan.collectives import Collective, collectives
from videojam_jax.plan.compiled import Program, compile_for
from videojam_jax.plan.propose import Proposal, change, next_to_try, proposals
from videojam_jax.plan.roofline import Roofline, roofline
from videojam_jax.sample.generate import jitted_sampler, sampler_batch
from videojam_jax.train.program import (
    abstract_batch,
    abstract_null,
    jitted_step,
    optimizer_of,
    parameter_count,
    training_mesh,
)
from videojam_jax.train.state import TrainState, abstract_state
from videojam_jax.train.throughput import step_flops

TRIES = 3  # proposals that are compiled before giving up


@dataclasses.dataclass(frozen=True)
class Job:
    """A compiled program and what was read from it.

    Attributes:
      flops: of one run over all devices, what is computed again included.
      collectives: empty when it did not fit.
      roofline: None then, and for devices without a data sheet.
    """

    program: Program
    flops: float
    collectives: list[Collective]
    roofline: Roofline | None


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that is known before a run. Counts are of the whole model, bytes of one device.

    Attributes:
      config: what the rest is about: the one given, or with `proposal` applied.
      problem: why the config as given cannot run on these devices, "" when it can.
      proposal: keys that put it right, None when nothing is wrong or nothing was found.
      tried: proposals that were compiled and did not fit.
      counted, expected: parameters by module, in the program and by the closed form.
      model_flops: of a training step by module, nothing computed again.
      expected_flops: the same by the closed form.
      state, batch: bytes.
      estimate: of the temporaries of a training step, by the closed form.
    """

    config: FrozenConfigDict
    device: Device | None
    device_kind: str
    mesh: Mesh
    problem: str
    proposal: Proposal | None
    tried: list[Proposal]
    counted: dict[str, int]
    expected: dict[str, int]
    model_flops: dict[str, float]
    expected_flops: dict[str, float]
    state: dict[str, int]
    batch: int
    estimate: dict[str, float]
    train: Job
    sample: Job


def plan(
    config: FrozenConfigDict, devices: list[jax.Device], tell: Callable[[str], None] = print
) -> Plan:
    """Everything about a config on these devices.

    Args:
      devices: as from `topology.devices`.
      tell: is told what is being compiled, which takes seconds to minutes.

    Raises:
      UserError: when the config cannot run on them and no mesh can be proposed.
    """
    device = device_of(devices)
    problem, proposal, tried = "", None, []
    try:
        mesh = training_mesh(config, devices)
        tell(f"compiling the training step for {describe(mesh)} ...")
        train = training(config, mesh, device)
        if not train.program.fits:
            problem = f"it does not fit: {train.program.refusal}"
    except UserError as error:
        problem = str(error)
    if problem:
        tell(problem)
        proposal, tried, mesh, train = search(config, devices, device, tell, problem)
        config = change(config, proposal.overrides)
    tell("compiling the sampler ...")
    sample = sampling(config, mesh, device)

    state = training_state(config, mesh)
    shapes = parameters.shapes(state.params)
    counted = parameters.by_module(shapes)
    plain = change(config, {"model.remat": "none", "model.attention": "xla"})
    products = flops.products(jitted_step(plain, mesh), *arguments(plain, mesh))
    return Plan(
        config=config,
        device=device,
        device_kind=devices[0].device_kind,
        mesh=mesh,
        problem=problem,
        proposal=proposal,
        tried=tried,
        counted=counted,
        expected=closed_form.parameters(config),
        model_flops=flops.by_module(products, list(counted)),
        expected_flops=step_flops(config),
        state=memory.of_state(state),
        batch=memory.on_one_device(abstract_batch(config, mesh)),
        estimate=memory.estimated_temporary(config, mesh.shape, parameter_count(state.params)),
        train=train,
        sample=sample,
    )


def training_state(config: FrozenConfigDict, mesh: Mesh) -> TrainState:
    return abstract_state(modelling.init(config), optimizer_of(config), mesh)


def arguments(config: FrozenConfigDict, mesh: Mesh) -> tuple:
    """Abstract arguments of the training step."""
    return training_state(config, mesh), abstract_batch(config, mesh), abstract_null(config, mesh)


def training(config: FrozenConfigDict, mesh: Mesh, device: Device | None) -> Job:
    """The training step, as `train` compiles it."""
    given = arguments(config, mesh)
    return _job(jitted_step(config, mesh), given, given[0].params, given[0], mesh, device)


def sampling(config: FrozenConfigDict, mesh: Mesh, device: Device | None) -> Job:
    """The sampler, from noise to latents, as `sample` compiles it."""
    size = sampler_batch(config, mesh)
    given = (
        abstract_params(modelling.init(config), mesh),
        jax.ShapeDtypeStruct((), jnp.uint32, sharding=replicated(mesh)),
        jax.ShapeDtypeStruct((size,), jnp.int32, sharding=batch_sharding(mesh)),
        abstract_batch(change(config, {"train.batch_size": size}), mesh)["text"],
        abstract_null(config, mesh),
    )
    return _job(jitted_sampler(config, mesh), given, given[0], None, mesh, device)


def _job(function, given: tuple, params, updated, mesh: Mesh, device: Device | None) -> Job:
    products = flops.products(function, *given)
    program = compile_for(function, *given, capacity=device.sheet.memory if device else None)
    found, times = [], None
    if program.fits:
        found = collectives(program.text, mesh.shape, parameters.shapes(params))
        if device is not None:
            state_bytes = memory.on_one_device(updated)
            times = roofline(products, found, state_bytes, device, mesh)
    return Job(program, flops.total(products), found, times)


def search(
    config: FrozenConfigDict,
    devices: list[jax.Device],
    device: Device | None,
    tell: Callable[[str], None],
    problem: str,
) -> tuple[Proposal, list[Proposal], Mesh, Job]:
    """The first proposal that compiles and fits, those that did not, its mesh and program."""
    count = sum(closed_form.parameters(config).values())
    # Simulated devices have no limits of their own; the meshes are ordered as on a TPU.
    like = device or Device("any", 1, 459e12, SHEETS["TPU v5"])
    left = proposals(config, len(devices), slice_count(devices), like, count)
    tried: list[Proposal] = []
    scale = 1.0  # by which the estimates have turned out too small
    while left and len(tried) < TRIES:
        proposal = next_to_try(left, like.sheet.memory / scale)
        left.remove(proposal)
        tell(f"compiling it with {proposal.flags()} ...")
        changed = change(config, proposal.overrides)
        mesh = training_mesh(changed, devices)
        train = training(changed, mesh, device)
        if train.program.fits:
            return proposal, tried, mesh, train
        tell(f"it does not fit either: {train.program.refusal}")
        tried.append(proposal)
        scale = max(scale, (train.program.required or 0) / proposal.bytes)
    meshes = "; ".join(one.flags() for one in tried) or "no mesh divides batch, heads and tokens"
    raise UserError(
        f"{problem}; nothing found that fits {topology.name(devices)} (tried: "
        f"{meshes}): take more devices, or a smaller config.train.batch_size"
    )


def describe(mesh: Mesh) -> str:
    """`64 x TPU v5 lite (data=1, fsdp=32, context=2, tensor=1)`."""
    axes = ", ".join(f"{name}={size}" for name, size in mesh.shape.items())
    return f"{topology.name(list(mesh.devices.flat))} ({axes})"
