"""`videojam prepare --preview N`: a page of what would be prepared, and nothing prepared."""

import base64
import html
import io
import json
import re

import jax
import numpy as np
import pytest
import tiny_run
import tiny_tae
from PIL import Image, ImageSequence
from tiny_clips import TinyClips

from videojam_jax.config import loading, preparing
from videojam_jax.data.clip import Clip
from videojam_jax.data.video_file import write_mp4
from videojam_jax.errors import UserError
from videojam_jax.report.preview import LABELS, preview

# One body before a ground that stands still.
CLIPS = [
    "--config.clip.frames=4", "--config.clip.height=32", "--config.clip.width=32",
    "--config.source.clips=40",
]  # fmt: skip


def config(*arguments):
    given = dict(word.removeprefix("--config.").split("=", 1) for word in (*CLIPS, *arguments))
    return loading.load(f"{tiny_run.CONFIG}:base", given)


def clips_of(page, fps):
    """`{(label, caption): frames [t, h, w, 3]}` of the animated clips that a page holds."""
    found = {}
    pattern = r"<img data-clip src='data:image/gif;base64,([^']+)' alt='([^']*)'"
    for content, alt in re.findall(pattern, page):
        gif = Image.open(io.BytesIO(base64.b64decode(content)))
        frames = []
        for frame in ImageSequence.Iterator(gif):
            # Equal frames in a row are one that is shown for longer.
            times = max(1, round(frame.info["duration"] * fps / 1000))
            frames += [np.asarray(frame.convert("RGB"))] * times
        label, _, caption = html.unescape(alt).partition(": ")
        found[label, caption] = np.stack(frames)
    return found


def shown(out, fps=6.0):
    return clips_of((out / "preview.html").read_text(), fps)


def by_clip(found, source_id):
    return {label: clip for (label, caption), clip in found.items()
            if caption.startswith(f"{source_id}: ")}  # fmt: skip


# --- the job ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    out = tmp_path_factory.mktemp("preview") / "out"
    status, said = tiny_run.here(
        "prepare", "--config", f"{tiny_run.CONFIG}:base", *CLIPS, "--workdir", out,
        "--preview", 3,
    )  # fmt: skip
    assert status == 0, said
    return out, said


def test_the_job_writes_a_page_and_prepares_nothing(job):
    out, said = job
    names = ["preview.html", "preview.json", "preview.md"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert "nothing was prepared; run the same command without --preview" in said
    for name in names:
        assert f"wrote {out / name}" in said


def test_clips_are_spread_over_the_source_and_shown_as_four_tiles_each(job):
    found = shown(job[0])
    source = preparing.source(config())
    ids = [source[i].source_id for i in (0, 13, 26)]
    assert len(found) == 4 * len(ids)
    for source_id, index in zip(ids, (0, 13, 26), strict=True):
        tiles = by_clip(found, source_id)
        assert tuple(tiles) == LABELS
        assert {clip.shape for clip in tiles.values()} == {(4, 32, 32, 3)}
        # A gif has 256 colours of its own.
        apart = np.abs(tiles["clip"].astype(int) - source[index].video)
        assert np.median(apart) <= 4
    page = (job[0] / "preview.html").read_text()
    assert "http://" not in page and "https://" not in page, "it needs nothing beside itself"


def test_the_shown_flow_is_coloured_where_the_clip_moves_and_black_where_it_stands(job):
    source, found = preparing.source(config()), shown(job[0])
    moved = 0
    for index in (0, 13, 26):
        clip = source[index]
        speed = np.hypot(*np.moveaxis(clip.flow, -1, 0))
        speed = np.concatenate([speed, speed[-1:]])
        brightest = by_clip(found, clip.source_id)["its flow"].max(axis=-1)
        assert brightest[speed == 0].max() <= 8, "black"
        assert (speed == 0).mean() > 0.5, "most of these clips stands still"
        fast = speed > 0.5
        moved += fast.sum()
        if fast.any():
            # Full intensity is at 0.15 of the diagonal.
            wanted = 255 * np.minimum(1, speed[fast] / (0.15 * np.hypot(32, 32)))
            apart = np.abs(brightest[fast] - wanted)
            assert brightest[fast].min() > 5 and np.median(apart) < 25, apart.max()
    assert moved > 100


def test_markdown_and_json_tell_the_same_numbers(job):
    out, _ = job
    told = json.loads((out / "preview.json").read_text())
    assert told["title"] == "What would be prepared"
    (quality,) = told["measured"]
    # Blocks of pixels lose nothing but what bfloat16 does.
    values = quality["values"]
    assert set(values) == {"clips", "flow clips"} and min(values.values()) > 40, values
    assert told["facts"]["flow"] == "exact" and told["facts"]["autoencoder"] == "pixels"
    assert "40 clips" in told["facts"]["source"]
    page = (out / "preview.md").read_text()
    assert "# What would be prepared" in page and f"{values['clips']:.1f}"[:3] in page


# --- of a source ------------------------------------------------------------------------


class OddClips(TinyClips):
    """The flow of one clip is not finite."""

    def __getitem__(self, index):
        clip = super().__getitem__(index)
        if index != 4:
            return clip
        flow = np.full_like(clip.flow, np.nan)
        return Clip(clip.video, clip.caption, clip.source_id, clip.fps, flow)


def tiny_config(*arguments):
    return config("--config.clip.height=16", "--config.clip.width=16", *arguments)


def test_bad_clips_are_named_with_their_reasons_and_the_others_shown(tmp_path):
    source = OddClips(6, bad=(1,))
    with jax.transfer_guard("disallow"):
        preview(tiny_config(), source, 100, tmp_path)
    found = shown(tmp_path)
    assert {caption.partition(": ")[0] for _, caption in found} == {
        "tiny:0", "tiny:2", "tiny:3", "tiny:5"
    }  # fmt: skip
    notes = [
        "Set aside: tiny:1: truncated",
        "Set aside: tiny:4: its flow or its latent is not finite",
    ]
    assert json.loads((tmp_path / "preview.json").read_text())["notes"] == notes
    page = html.unescape((tmp_path / "preview.html").read_text())
    assert all(note in page for note in notes)


@pytest.mark.parametrize(
    ("source", "count", "words"),
    [
        (TinyClips(4, bad=range(4)), 3, "none of the 3 clips .* tiny:0, because: truncated"),
        (TinyClips(0, bad=()), 3, "a preview of 3 clips of 0"),
        (TinyClips(4), -2, "a preview of -2 clips of 4"),
    ],
)
def test_where_there_is_nothing_to_show_is_an_error_and_no_page(tmp_path, source, count, words):
    with pytest.raises(UserError, match=words):
        preview(tiny_config(), source, count, tmp_path)
    assert not list(tmp_path.iterdir())


def test_latents_that_were_made_elsewhere_cannot_be_shown(tmp_path):
    precomputed = [
        "--config.autoencoder.name=precomputed", "--config.autoencoder.channels=4",
        "--config.autoencoder.compression=(1,2,2)",
    ]  # fmt: skip
    with pytest.raises(UserError, match="precomputed"):
        preview(tiny_config(*precomputed), TinyClips(4), 2, tmp_path)


def test_what_an_autoencoder_loses_is_seen_and_measured(tmp_path, tmp_path_factory):
    tae = tiny_tae.trained(tmp_path_factory)[0]
    given = [*tiny_tae.READER, f"--config.autoencoder.weights={tae}"]
    read = tiny_config(*given, "--config.source.clips=3")
    preview(read, preparing.source(read), 3, tmp_path)
    found = shown(tmp_path)
    for _, caption in found:
        tiles = by_clip(found, caption.partition(": ")[0])
        error = np.mean((tiles["clip"].astype(float) - tiles["reconstruction"]) ** 2)
        told = float(re.search(r"PSNR (\d+\.\d) dB", caption)[1])
        # Of the clips as they are, without a gif's few colours.
        assert told == pytest.approx(10 * np.log10(255**2 / error), abs=1.0)
    (quality,) = json.loads((tmp_path / "preview.json").read_text())["measured"]
    assert 5 < quality["values"]["clips"] < 30


def test_the_flow_of_files_is_estimated_and_shown_where_the_body_is(tmp_path):
    size, body = 64, 20
    ground = np.random.default_rng(0).integers(60, 140, (size, size, 3), dtype=np.uint8)
    texture = np.random.default_rng(1).integers(100, 255, (body, body, 3), dtype=np.uint8)
    frames = np.repeat(ground[None], 4, axis=0)
    for i, frame in enumerate(frames):
        frame[22 : 22 + body, 8 + 4 * i : 8 + 4 * i + body] = texture
    (tmp_path / "videos").mkdir()
    write_mp4(tmp_path / "videos" / "one.mp4", frames, 8.0)
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"nothing" * 50)
    read = loading.load(
        f"{tiny_run.CONFIG}:base",
        {
            "clip.frames": "4", "clip.height": f"{size}", "clip.width": f"{size}",
            "clip.fps": "8.0", "source.name": "folder",
            "source.path": str(tmp_path / "videos"), "motion.flow": "dis",
        },
    )  # fmt: skip
    preview(read, preparing.source(read), 1, tmp_path / "out")
    flow = by_clip(shown(tmp_path / "out", 8.0), "one.mp4#0")["its flow"].astype(float)
    inside, outside = [], []
    for i, frame in enumerate(flow[:3]):
        inside.append(frame[26 : 22 + body - 4, 12 + 4 * i : 8 + 4 * i + body - 4].reshape(-1, 3))
        outside += [frame[:12].reshape(-1, 3), frame[52:].reshape(-1, 3)]
    inside, outside = np.concatenate(inside), np.concatenate(outside)
    # 4 pixels to the right are red, at 4 / (0.15 * 90.5) of the full intensity.
    wanted = 255 * 4 / (0.15 * np.hypot(size, size))
    print(f"inside {np.median(inside, axis=0)}, outside {np.median(outside, axis=0)}")
    assert np.median(inside[:, 0]) == pytest.approx(wanted, rel=0.2)
    assert np.median(inside[:, 1:]) < 0.3 * wanted
    assert np.median(outside.max(axis=-1)) < 0.1 * wanted
    told = json.loads((tmp_path / "out" / "preview.json").read_text())
    assert told["facts"]["set aside while listing"] == "1"
