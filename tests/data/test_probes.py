"""What is known of the videos of a folder: asked once, kept, shared between processes."""

import importlib
import json
import os
import subprocess
import sys

import av
import numpy as np
import pytest
import tiny_run
from numbered_videos import make_video

from videojam_jax.data import probes
from videojam_jax.data.clip import ClipSpec
from videojam_jax.data.probes import probe_all
from videojam_jax.data.sources import Folder
from videojam_jax.data.video_timing import VideoError, open_video, probe
from videojam_jax.errors import MayPass

COUNT = 22
TOGETHER = 4
NAMES = [f"{number:02}.mp4" for number in range(COUNT)]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Clips of all lengths, of which one is broken."""
    root = tmp_path_factory.mktemp("videos")
    whole = make_video(root / "01.mp4", count=16).read_bytes()
    for number, name in enumerate(NAMES):
        (root / name).write_bytes(whole)
    make_video(root / "02.mp4", count=9)
    (root / "03.mp4").write_bytes(whole[:400])
    return root


@pytest.fixture
def asked(monkeypatch):
    """The names that were probed, of parts of a few videos."""
    found = []

    def counted(path):
        found.append(path.name)
        return probe(path)

    monkeypatch.setattr(probes, "probe", counted)
    monkeypatch.setattr(probes, "_TOGETHER", TOGETHER)
    return found


def test_each_is_asked_once_and_kept_with_its_reason(videos, tmp_path, asked):
    plain = probe_all(videos, NAMES)
    assert sorted(asked) == NAMES and isinstance(plain[3], str)
    assert [said.frames for said in plain[:3]] == [16, 16, 9]
    asked.clear()
    assert probe_all(videos, NAMES, tmp_path / "kept") == plain and sorted(asked) == NAMES
    asked.clear()
    assert probe_all(videos, NAMES, tmp_path / "kept") == plain and not asked
    assert len(os.listdir(tmp_path / "kept")) == -(-COUNT // TOGETHER)


def test_what_one_process_asked_no_other_asks(videos, tmp_path, asked):
    plain = probe_all(videos, NAMES)
    asked.clear()
    # The third of three does its share and half of another's, and is killed.
    parts = []

    def killed(*rest):
        if len(parts) == 4:
            raise KeyboardInterrupt
        parts.append(rest)
        return of_part(*rest)

    of_part = probes._of_part
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(probes, "_of_part", killed)
        probe_all(videos, NAMES, tmp_path, 2, 3)
    first = set(asked)
    assert first == {
        *NAMES[8:12], *NAMES[20:],  # its own
        *NAMES[12:16], *NAMES[0:4],  # of the first process, from the end
    }  # fmt: skip
    asked.clear()
    assert probe_all(videos, NAMES, tmp_path, 0, 3) == plain
    assert sorted(asked) == sorted(set(NAMES) - first)
    asked.clear()
    assert probe_all(videos, NAMES, tmp_path, 1, 3) == plain and not asked


def test_a_file_that_changed_is_asked_again_and_no_other(videos, tmp_path, asked):
    root, kept = tmp_path / "videos", tmp_path / "kept"
    root.mkdir()
    for name in NAMES:
        (root / name).write_bytes((videos / name).read_bytes())
    before = probe_all(root, NAMES, kept)
    asked.clear()
    make_video(root / "05.mp4", count=30)  # of another size
    touched = (root / "10.mp4").stat()
    os.utime(root / "10.mp4", ns=(touched.st_atime_ns, touched.st_mtime_ns + 1))
    (root / "15.mp4").unlink()
    now = probe_all(root, NAMES, kept)
    assert sorted(asked) == ["05.mp4", "10.mp4", "15.mp4"]
    assert now[5].frames == 30 and now[15] == "cannot be read: No such file or directory"
    assert [(one, other) for one, other in zip(before, now) if one != other] == [
        (before[5], now[5]), (before[15], now[15])
    ]  # fmt: skip
    asked.clear()
    # What the system says of a file is not kept: it may be another thing the next time.
    assert probe_all(root, NAMES, kept) == now and asked == ["15.mp4"]


def test_what_was_kept_and_damaged_or_of_another_version_is_asked_anew(
    videos, tmp_path, asked, monkeypatch
):
    plain = probe_all(videos, NAMES, tmp_path)
    path, rng = tmp_path / "00001.json", np.random.default_rng(0)
    data = path.read_bytes()
    for number in range(60):
        found = bytearray(data)
        found[rng.integers(len(found))] ^= int(rng.integers(1, 256))
        path.write_bytes([bytes(found), data[: rng.integers(len(data))]][number % 2])
        assert probe_all(videos, NAMES, tmp_path) == plain
    for wrong in (b"", b"\xff", b"[]", b"{}", b"[1, 2, 3]", json.dumps([0, None, {}]).encode()):
        path.write_bytes(wrong)
        assert probe_all(videos, NAMES, tmp_path) == plain
    assert path.read_bytes() == data
    asked.clear()
    monkeypatch.setattr(probes, "_VERSION", "2")
    assert probe_all(videos, NAMES, tmp_path) == plain and sorted(asked) == NAMES


def test_a_source_is_the_same_from_what_was_kept(videos, tmp_path, asked):
    spec = ClipSpec(frames=8, height=48, width=64, fps=24.0)
    one, other = (Folder(videos, spec, kept=tmp_path / "kept") for _ in range(2))
    assert sorted(asked) == NAMES
    assert one.describe() == other.describe() and one.set_aside == other.set_aside
    assert {aside["source"] for aside in one.set_aside} == {"03.mp4"}
    # Another length of clips is another question, of the same files.
    longer = Folder(videos, ClipSpec(12, 48, 64, 24.0), kept=tmp_path / "kept")
    assert sorted(asked) == NAMES
    assert {aside["source"] for aside in longer.set_aside} == {"02.mp4", "03.mp4"}


# The system's word for these, in place of the call that it stands for.
@pytest.mark.parametrize("call", ["os.stat", "pathlib.Path.stat"])
def test_a_disk_that_fails_in_passing_sets_no_video_aside(videos, tmp_path, call, monkeypatch):
    *place, name = call.split(".")
    owner = importlib.import_module(place[0])
    owner = getattr(owner, place[1]) if len(place) > 1 else owner
    real = getattr(owner, name)

    def fails(path, *rest, **more):
        if str(path).endswith("07.mp4"):
            raise OSError(5, "Input/output error")
        return real(path, *rest, **more)

    monkeypatch.setattr(owner, name, fails)
    with pytest.raises(MayPass, match="07.mp4 cannot be read: Input/output error"):
        probe_all(videos, NAMES, tmp_path)


def test_libav_s_input_output_error_is_the_disk_s_only_if_the_disk_says_so(videos, monkeypatch):
    def broken():
        with open_video(videos / "01.mp4"):
            raise av.error.FFmpegError(5, "Input/output error")

    with pytest.raises(VideoError, match="damaged, cut off, or on a disk that fails"):
        broken()

    class FailingFile:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def close(self):
            pass

        def read(self, count):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("builtins.open", lambda *_, **__: FailingFile())
    with pytest.raises(MayPass, match="01.mp4 cannot be read: Input/output error"):
        broken()


# Processes that begin together, each slow to ask, as a bucket is.
TOGETHER_PROGRAM = """
import sys, time
from pathlib import Path
from videojam_jax.data import probes

real, asked = probes.probe, []

def slow(path):
    asked.append(path.name)
    time.sleep(0.15)
    return real(path)

probes.probe, probes._TOGETHER = slow, 2
root, kept, process = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
names = sorted(path.name for path in root.iterdir())
print("ready", flush=True)
sys.stdin.readline()
found = probes.probe_all(root, names, kept, process, 3)
print(len(asked), found, flush=True)
"""


@pytest.mark.multiprocess
def test_processes_that_begin_together_share_the_work(videos, tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER_PROGRAM, videos, tmp_path / "kept", str(number)],
            env=tiny_run.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(3)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    said = []
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        said.append(process.communicate(timeout=120)[0].split(" ", 1))
        assert process.returncode == 0
    asked, found = [int(count) for count, _ in said], {answers for _, answers in said}
    assert found == {f"{probe_all(videos, NAMES)}\n"}
    print(f"{COUNT} videos, asked {asked} times")
    # Each twice at the border of two shares, and all of them once.
    assert COUNT <= sum(asked) <= COUNT + 3 * 2 * 2 and max(asked) <= 12
