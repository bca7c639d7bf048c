"""Small real clips in real folders, and a server over them."""

import contextlib
import json
import threading

import numpy as np
import pytest

from videojam_jax.data.video_file import write_gif, write_mp4
from videojam_jax.vote.server import running

PROMPTS = [f"a {colour} disc falls" for colour in ("red", "green", "blue", "pink", "grey")]


def write_clip(path, shade, *, size=16, frames=4, gif=False):
    """A bright square that goes to the right before a ground of that shade."""
    video = np.full((frames, size, size, 3), shade, np.uint8)
    for i, frame in enumerate(video):
        frame[4:8, 2 * i : 2 * i + 4] = (230, 40, 30)
    write_mp4(path, video, 8.0)
    if gif:
        write_gif(path.with_suffix(".gif"), video, 8.0)


def write_vbench(folder, prompts, shade=60, **clip):
    """A folder in VBench's layout, a clip of each prompt."""
    folder.mkdir(parents=True)
    for i, prompt in enumerate(prompts):
        write_clip(folder / f"{prompt}-0.mp4", shade + i, **clip)
    return folder


def write_sampled(folder, prompts, shade=120, **clip):
    """A folder as `videojam sample` writes it, with motion beside every clip."""
    folder.mkdir(parents=True)
    samples = []
    for i, prompt in enumerate(prompts):
        name = f"{i:03}_{prompt.replace(' ', '_')}"
        write_clip(folder / f"{name}.mp4", shade + i, gif=True, **clip)
        write_clip(folder / f"{name}_flow.mp4", 0, gif=True, **clip)
        files = [f"{n}.{kind}" for n in (name, f"{name}_flow") for kind in ("mp4", "gif")]
        samples.append({"prompt": prompt, "files": files})
    (folder / "samples.json").write_text(json.dumps({"samples": samples}))
    return folder


@pytest.fixture(scope="session")
def prompts():
    return PROMPTS


@pytest.fixture(scope="session")
def clip():
    return write_clip


@pytest.fixture(scope="session")
def vbench():
    return write_vbench


@pytest.fixture(scope="session")
def sampled():
    return write_sampled


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A (as sampled) and B (as VBench has it), of five prompts that both have."""
    root = tmp_path_factory.mktemp("clips")
    return (
        write_sampled(root / "secret_jam", PROMPTS),
        write_vbench(root / "secret_base", PROMPTS),
    )


@pytest.fixture
def votes_file(tmp_path):
    return tmp_path / "votes.sqlite"


@pytest.fixture
def started(folders, votes_file):
    """`with started() as address:` a server over `folders`; no thread of it stays."""

    @contextlib.contextmanager
    def start(votes=votes_file, **options):
        before = set(threading.enumerate())
        with running(*folders, votes, tell=lambda line: None, **options) as address:
            yield address
        lasting = [t for t in set(threading.enumerate()) - before if not t.daemon]
        assert not lasting, lasting

    return start
