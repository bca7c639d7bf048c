"""A prepared folder and two runs, kept as another version wrote them: tests/kept/README.md.

    PYTHONPATH=THAT_VERSION python tests/kept_run.py THAT_VERSION tests/kept/NAME.tar.xz

makes them with the package and the configs of that version, and packs them.
"""

import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

# Valid in that version and in this one.
WORDS = [
    "--config.source.clips=8",
    "--config.clip.height=16",
    "--config.clip.width=16",
    "--config.clip.frames=4",
    "--config.prepare.clips_per_shard=4",
    "--config.autoencoder.patch=(1,4,4)",
    "--config.model.patch=(2,1,1)",
    "--config.model.trunk.blocks=1",
    "--config.model.trunk.width=8",
    "--config.model.trunk.ffn=8",
    "--config.model.trunk.heads=2",
    "--config.text.width=4",
    "--config.text.blocks=0",
    "--config.text.heads=2",
    "--config.train.batch_size=8",
    "--config.train.log_every=1",
    "--config.train.checkpoint_every=1",
    "--config.train.keep=2",
    "--config.mesh.data=-1",
    "--config.sample.steps=2",
    "--config.sample.emulate=4",
    "--config.sample.batch_size=1",
    "--config.sample.enlarge=1",
]
# Keys of that version which have other names now.
OLD = ["--config.sample.inner_steps=1"]
STEPS = 2


def make(version: pathlib.Path, root: pathlib.Path) -> None:
    """Prepares the clips and trains a base and VideoJAM below `root`."""
    config = version / "configs" / "quickstart.py"
    flags = {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(version)}
    jobs = [
        ["prepare", f"{config}", "data"],
        ["train", f"{config}:base", "base", f"--config.train.steps={STEPS}"],
        ["train", f"{config}:videojam", "videojam", f"--config.train.steps={STEPS}",
         f"--config.train.checkpoint_every={STEPS}"],
    ]  # fmt: skip
    for job, config, folder, *words in jobs:
        command = [sys.executable, "-m", "videojam_jax.cli", job, "--config", config,
                   "--workdir", str(root / folder), *WORDS, *OLD, *words]  # fmt: skip
        subprocess.run(command, check=True, env={**os.environ, **flags}, cwd=root)


def pack(root: pathlib.Path, archive: pathlib.Path) -> None:
    """All but TensorBoard's files, which are named after the machine; without owners and times."""

    def anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if "tensorboard" in pathlib.PurePath(info.name).parts:
            return None
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        return info

    with tarfile.open(archive, "w:xz") as packed:
        for folder in sorted(root.iterdir()):
            packed.add(folder, folder.name, filter=anonymous)


if __name__ == "__main__":
    version, archive = map(pathlib.Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as root:
        make(version.absolute(), pathlib.Path(root))
        pack(pathlib.Path(root), archive)
    print(f"wrote {archive}: {archive.stat().st_size:,} bytes")
