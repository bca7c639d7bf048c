"""The names of RAFT's tensors in torchvision's and in princeton-vl's files.

torchvision: the state dict of `raft_large` and `raft_small`. princeton-vl/RAFT: what
`train.py` saves and `download_models.sh` fetches, the state dict of a `DataParallel`, so
every name begins with "module."; read without it too.
"""

from collections.abc import Collection, Iterator

from videojam_jax.convert.layout import CONV2D, Row
from videojam_jax.errors import UserError
from videojam_jax.models.raft import SIZES, Size

NAMINGS = ("torchvision", "princeton")

# Counters of training steps, which a frozen norm has no use for.
IGNORED: tuple[str, ...] = (r".*\.num_batches_tracked",)

_ENCODERS = {
    "torchvision": ("feature_encoder", "context_encoder"),
    "princeton": ("fnet", "cnet"),
}

# Layers outside the encoders: ours, torchvision's, princeton's. A layer that one size does
# not have is left out in `rows`; princeton's recurrent unit is named by size.
_REST = (
    ("update/motion/correlation1", "motion_encoder.convcorr1.0", "encoder.convc1"),
    ("update/motion/correlation2", "motion_encoder.convcorr2.0", "encoder.convc2"),
    ("update/motion/flow1", "motion_encoder.convflow1.0", "encoder.convf1"),
    ("update/motion/flow2", "motion_encoder.convflow2.0", "encoder.convf2"),
    ("update/motion/out", "motion_encoder.conv.0", "encoder.conv"),
    ("update/flow_head1", "flow_head.conv1", "flow_head.conv1"),
    ("update/flow_head2", "flow_head.conv2", "flow_head.conv2"),
)


def rows(size: str, naming: str) -> list[Row]:
    """The layout of RAFT `size` ("large" or "small") in files of `naming` (see `NAMINGS`).

    princeton's files hold the norm of a downsampling block twice, as `norm3` and as
    `downsample.1`; the latter is read, and the former only where it is missing.
    """
    if size not in SIZES or naming not in NAMINGS:
        raise UserError(
            f"no layout of RAFT {size!r} as {naming!r}: sizes are {[*SIZES]}, "
            f"namings {[*NAMINGS]}"
        )
    found = []
    for ours, names, norm in _layers(SIZES[size], naming):
        parts = (
            [(part, part_name, None) for part, part_name in _NORM]
            if norm
            else [("kernel", "weight", CONV2D), ("bias", "bias", None)]
        )
        for part, part_name, axes in parts:
            public, *also = (f"{name}.{part_name}" for name in names)
            found.append(Row(f"{ours}/{part}", public, axes, tuple(also)))
    return found


_NORM = (("scale", "weight"), ("bias", "bias"), ("mean", "running_mean"), ("var", "running_var"))


def detect(names: Collection[str]) -> tuple[str, str]:
    """`(size, naming)` of a file with tensors of these names; UserError if it is no RAFT."""
    for naming, signs in _SIGNS.items():
        for prefix in ("", "module."):
            if f"{prefix}{signs['any']}" not in names:
                continue
            for size in SIZES:
                if f"{prefix}{signs[size]}" in names:
                    return size, naming
            raise UserError(
                f"a RAFT as {naming} names it, but of no known size: neither "
                + " nor ".join(f"{prefix}{signs[size]} ({size})" for size in SIZES)
                + " is among its tensors"
            )
    first = ", ".join(sorted(names)[:3])
    wanted = " nor ".join(f"{signs['any']} ({naming})" for naming, signs in _SIGNS.items())
    raise UserError(
        f"no RAFT: neither {wanted} is among its {len(names)} tensors ({first}...)"
    )


# A tensor that every RAFT has, and one that only one size has.
_SIGNS = {
    "torchvision": {
        "any": "feature_encoder.convnormrelu.0.weight",
        "large": "update_block.recurrent_block.convgru2.convz.weight",
        "small": "feature_encoder.layer1.0.convnormrelu3.0.weight",
    },
    "princeton": {
        "any": "fnet.conv1.weight",
        "large": "update_block.gru.convz2.weight",
        "small": "fnet.layer1.0.conv3.weight",
    },
}


def _layers(size: Size, naming: str) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """`(ours, public names, whether it is a norm)` of every layer with parameters."""
    torchvision = naming == "torchvision"

    def layer(ours, *names, norm=False):
        if not torchvision:
            names = (*(f"module.{name}" for name in names), *names)
        return ours, names, norm

    norms = ("none", size.context_norm)  # instance norm has no parameters
    for ours, public, norm in zip(
        _ENCODERS["torchvision"], _ENCODERS[naming], norms, strict=True
    ):
        batch = norm == "batch"
        stem = f"{public}.convnormrelu" if torchvision else public
        yield layer(f"{ours}/conv_in", f"{stem}.0" if torchvision else f"{stem}.conv1")
        if batch:
            norm_in = f"{stem}.1" if torchvision else f"{stem}.norm1"
            yield layer(f"{ours}/norm_in", norm_in, norm=True)
        for i in (1, 2, 3):
            for j in (0, 1):
                to, of = f"{ours}/layer{i}_{j}", f"{public}.layer{i}.{j}"
                convs = 3 if size.bottleneck else 2
                for k in range(1, convs + 1):
                    unit = f"{of}.convnormrelu{k}"
                    yield layer(f"{to}/conv{k}", f"{unit}.0" if torchvision else f"{of}.conv{k}")
                    if batch:
                        name = f"{unit}.1" if torchvision else f"{of}.norm{k}"
                        yield layer(f"{to}/norm{k}", name, norm=True)
                if i > 1 and j == 0:
                    yield layer(f"{to}/downsample", f"{of}.downsample.0")
                    if batch:
                        twin = () if torchvision else (f"{of}.norm{convs + 1}",)
                        yield layer(
                            f"{to}/norm_downsample", f"{of}.downsample.1", *twin, norm=True
                        )
        yield layer(f"{ours}/conv_out", f"{public}.conv" if torchvision else f"{public}.conv2")

    for ours, *names in _REST:
        if ours.endswith("correlation2") and len(size.correlation) < 2:
            continue
        yield layer(ours, f"update_block.{names[NAMINGS.index(naming)]}")
    for i in range(1, len(size.gru) + 1):
        for gate in "zrq":
            if torchvision:
                name = f"recurrent_block.convgru{i}.conv{gate}"
            else:
                name = f"gru.conv{gate}{i if len(size.gru) > 1 else ''}"
            yield layer(f"update/gru_{i - 1}/{gate}", f"update_block.{name}")
    if size.convex:
        for i, (tv, princeton) in enumerate(
            (("mask_predictor.convrelu.0", "mask.0"), ("mask_predictor.conv", "mask.2")), 1
        ):
            name = tv if torchvision else f"update_block.{princeton}"
            yield layer(f"convex_weights/conv{i}", name)
