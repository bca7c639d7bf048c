"""VBench: the paper's columns follow from its numbers, results are read, folders are laid out."""

import json
import re

import numpy as np
import pytest

from videojam_jax.data.video_file import read_video
from videojam_jax.errors import UserError
from videojam_jax.measure import vbench

# Per dimension, then the columns App. and Mot. of the paper, percent.
PAPER = {
    "DiT-4B": ([51.8, 61.4, 93.0, 96.7, 99.3, 38.3], 75.2, 78.3),
    "VideoJAM-4B": ([51.6, 61.1, 93.5, 96.7, 98.8, 87.5], 75.1, 93.7),
    "DiT-30B": ([49.2, 56.8, 91.3, 95.5, 98.8, 71.1], 72.4, 88.1),
    "VideoJAM-30B": ([51.2, 55.9, 93.0, 96.1, 99.0, 82.3], 73.4, 92.4),
}


@pytest.mark.parametrize("model", PAPER)
def test_aggregates_reproduce_the_paper_s_columns(model):
    """Of the eight, only DiT-4B's motion is off by more than 0.1 (78.404 for 78.3)."""
    dimensions, appearance, motion = PAPER[model]
    scores = np.array(dimensions) / 100
    assert 100 * vbench.appearance(*scores[:4]) == pytest.approx(appearance, abs=0.1)
    tolerance = 0.105 if model == "DiT-4B" else 0.1
    assert 100 * vbench.motion(*scores[4:]) == pytest.approx(motion, abs=tolerance)


def test_aggregates_go_from_none_to_all():
    assert vbench.appearance(0.0, 0.0, 0.1462, 0.2615) == 0.0
    assert vbench.appearance(1.0, 1.0, 1.0, 1.0) == 1.0
    assert vbench.motion(0.706, 0.0) == 0.0
    assert vbench.motion(0.9975, 1.0) == pytest.approx(1.0)


def clip_scores(names, seed=0):
    """For each dimension a value per clip, as VBench writes them: imaging out of 100."""
    rng = np.random.default_rng(seed)
    made = {}
    for dimension in vbench.DIMENSIONS:
        values = rng.uniform(0.3, 0.9, len(names))
        if dimension == "dynamic_degree":
            made[dimension] = [bool(value > 0.5) for value in values]
        else:
            made[dimension] = list(values * (100 if dimension == "imaging_quality" else 1))
    return made


def write_results(path, names, scores, dimensions=vbench.DIMENSIONS, root="/there/videos"):
    content = {}
    for dimension in dimensions:
        values = scores[dimension]
        mean = float(np.mean(values)) / (100 if dimension == "imaging_quality" else 1)
        rows = [
            {"video_path": f"{root}/{name}", "video_results": value}
            for name, value in zip(names, values, strict=True)
        ]
        content[dimension] = [mean, rows]
    path.write_text(json.dumps(content, indent=4))


NAMES = ["a dog runs-0.mp4", "a cat sits-0.mp4", "rain-0.mp4"]


def test_results_of_several_files_are_read_as_one(tmp_path):
    scores = clip_scores(NAMES)
    write_results(tmp_path / "results_1_eval_results.json", NAMES, scores, vbench.DIMENSIONS[:2])
    write_results(tmp_path / "results_2_eval_results.json", NAMES, scores, vbench.DIMENSIONS[2:])
    (tmp_path / "results_1_full_info.json").write_text("[]")
    results = vbench.read_results(tmp_path)
    assert list(results) == list(vbench.DIMENSIONS)
    imaging = results["imaging_quality"]
    assert imaging.clips[NAMES[1]] == pytest.approx(scores["imaging_quality"][1] / 100)
    for dimension in results.values():
        assert set(dimension.clips) == set(NAMES)
        assert dimension.score == pytest.approx(np.mean(list(dimension.clips.values())))
    assert set(results["dynamic_degree"].clips.values()) <= {0.0, 1.0}


def test_mean_over_clips_of_their_aggregates_is_the_aggregate_of_the_means(tmp_path):
    write_results(tmp_path / "x_eval_results.json", NAMES, clip_scores(NAMES))
    results = vbench.read_results(tmp_path / "x_eval_results.json")
    names, values = vbench.per_clip(results)
    assert names == sorted(NAMES)
    for name, value in vbench.aggregates(results).items():
        assert values[name].shape == (3,)
        assert value == pytest.approx(values[name].mean()), name


def test_of_a_dimension_measured_twice_the_later_file_counts(tmp_path):
    for time, seed in (("10:00:00", 1), ("09:59:59", 2)):
        path = tmp_path / f"results_2026-01-02-{time}_eval_results.json"
        write_results(path, NAMES, clip_scores(NAMES, seed))
    later = clip_scores(NAMES, 1)["aesthetic_quality"][0]
    results = vbench.read_results(tmp_path)
    assert results["aesthetic_quality"].clips[NAMES[0]] == pytest.approx(later)


def test_a_dimension_of_two_sets_of_clips_is_an_error_that_names_both_files(tmp_path):
    write_results(tmp_path / "a_eval_results.json", NAMES, clip_scores(NAMES))
    write_results(tmp_path / "b_eval_results.json", NAMES[:2], clip_scores(NAMES[:2]))
    with pytest.raises(UserError, match=r"a_eval_results.json.*b_eval_results.json"):
        vbench.read_results(tmp_path)


def test_missing_dimension_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "a_eval_results.json"
    write_results(path, NAMES, clip_scores(NAMES), vbench.DIMENSIONS[:-1])
    with pytest.raises(UserError, match=r"no dynamic_degree;"):
        vbench.read_results(path)
    some = vbench.read_results(path, vbench.DIMENSIONS[:2])
    with pytest.raises(UserError, match="no subject_consistency and no background_consistency"):
        vbench.aggregates(some)


def test_dimensions_of_different_clips_have_no_aggregate_per_clip(tmp_path):
    write_results(tmp_path / "a_eval_results.json", NAMES, clip_scores(NAMES), ["imaging_quality"])
    others = [dimension for dimension in vbench.DIMENSIONS if dimension != "imaging_quality"]
    write_results(tmp_path / "b_eval_results.json", NAMES[:2], clip_scores(NAMES[:2]), others)
    results = vbench.read_results(tmp_path)
    assert vbench.aggregates(results)["motion"] > 0
    with pytest.raises(UserError, match="imaging_quality was measured on other clips.*rain-0.mp4"):
        vbench.per_clip(results)


@pytest.mark.parametrize(
    "content,message",
    [
        ("[1, 2]", "wanted"),
        ("{", "is not JSON"),
        ('{"imaging_quality": 0.5}', "imaging_quality: wanted"),
        ('{"imaging_quality": [0.5]}', "imaging_quality: wanted"),
        ('{"imaging_quality": ["0.5", []]}', "imaging_quality: wanted"),
        ('{"imaging_quality": [0.5, []]}', "imaging_quality: wanted"),
        (
            '{"imaging_quality": [NaN, [{"video_path": "a", "video_results": 50}]]}',
            "imaging_quality: wanted",
        ),
        (
            '{"imaging_quality": [0.5, [{"video_path": "a", "video_results": Infinity}]]}',
            "a clip is",
        ),
        ('{"imaging_quality": [0.5, [{"video_path": "a.mp4"}]]}', "a clip is"),
        ('{"imaging_quality": [0.5, [{"video_path": "a", "video_results": [1]}]]}', "a clip is"),
        (
            '{"imaging_quality": [0.5, [{"video_path": "x/a", "video_results": 50},'
            ' {"video_path": "y/a", "video_results": 50}]]}',
            "'a' is in it twice",
        ),
    ],
)
def test_file_of_another_form_is_an_error_that_names_it(tmp_path, content, message):
    path = tmp_path / "some_eval_results.json"
    path.write_text(content)
    with pytest.raises(UserError, match=f"some_eval_results.json.*{re.escape(message)}"):
        vbench.read_results(path, ["imaging_quality"])


def test_folder_without_results_and_missing_file_are_errors(tmp_path):
    with pytest.raises(UserError, match=r"\*_eval_results.json"):
        vbench.read_results(tmp_path)
    with pytest.raises(UserError, match="cannot read .*absent.json"):
        vbench.read_results(tmp_path / "absent.json")


def clips(count, start=0):
    for i in range(start, start + count):
        yield np.full((5, 16, 16, 3), 40 * i, np.uint8)


def test_every_clip_lies_under_its_prompt_and_in_the_list(tmp_path):
    folder = tmp_path / "made" / "videos"
    long = "a very long prompt " * 30
    prompts = ["a red ball falls", "either/or", long, "Un café à l'été", "line\nbreak", "e\0f"]
    files = vbench.write_videos(folder, prompts, clips(6), fps=8.0)
    assert files[0].name == "a red ball falls-0.mp4"
    assert files[3].name == "Un café à l'été-0.mp4"
    assert all(file.parent == folder and file.is_file() for file in files)
    assert all(len(file.name.encode()) <= 200 for file in files)
    listed = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))
    assert listed == {file.name: prompt for file, prompt in zip(files, prompts, strict=True)}
    assert sorted(folder.iterdir()) == sorted([*files, folder / "prompts.json"])
    assert abs(int(read_video(files[2]).mean()) - 80) <= 3
    # VBench reads what is before the last dash and digits as the prompt.
    assert re.sub(r"-\d+$", "", files[0].stem) == prompts[0]


def test_prompts_alike_in_their_words_have_names_of_their_own():
    names = vbench.file_names(["a/b", "a.b/", "a b", "a" * 300, "a" * 301, "/"])
    assert len(set(names)) == 6


def test_prompt_asked_for_twice_has_two_clips_and_another_index_adds_to_the_list(tmp_path):
    vbench.write_videos(tmp_path, ["rain", "rain", "snow"], clips(3), fps=8.0)
    vbench.write_videos(tmp_path, ["snow"], clips(1, 3), fps=8.0, index=1)
    listed = json.loads((tmp_path / "prompts.json").read_text())
    assert listed == {
        "rain-0.mp4": "rain",
        "rain-1.mp4": "rain",
        "snow-0.mp4": "snow",
        "snow-1.mp4": "snow",
    }
    assert {file.name for file in tmp_path.glob("*.mp4")} == set(listed)


def test_rerun_writes_what_is_missing_and_leaves_the_rest(tmp_path):
    prompts = ["one", "two", "three"]
    files = vbench.write_videos(tmp_path, prompts, clips(3), fps=8.0)
    files[1].unlink()
    before = files[0].stat().st_mtime_ns, files[0].read_bytes()
    vbench.write_videos(tmp_path, prompts, clips(3, start=3), fps=8.0)
    assert (files[0].stat().st_mtime_ns, files[0].read_bytes()) == before
    assert abs(int(read_video(files[1]).mean()) - 160) <= 3


def test_clips_are_listed_before_the_first_is_written(tmp_path):
    """Killed between two clips, the folder is still one that VBench takes."""

    def stopped():
        yield from clips(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vbench.write_videos(tmp_path, ["one", "two"], stopped(), fps=8.0)
    listed = json.loads((tmp_path / "prompts.json").read_text())
    assert {file.name for file in tmp_path.glob("*.mp4")} == {"one-0.mp4"} <= listed.keys()


def test_more_or_fewer_videos_than_prompts_is_an_error(tmp_path):
    with pytest.raises(ValueError):
        vbench.write_videos(tmp_path, ["one", "two"], clips(1), fps=8.0)
    with pytest.raises(ValueError):
        vbench.write_videos(tmp_path, ["one"], clips(2), fps=8.0)


def test_broken_list_of_prompts_and_file_for_a_folder_are_errors(tmp_path):
    (tmp_path / "prompts.json").write_text("[]")
    with pytest.raises(UserError, match="prompts.json: wanted"):
        vbench.write_videos(tmp_path, ["one"], clips(1), fps=8.0)
    with pytest.raises(UserError, match="cannot write .*prompts.json"):
        vbench.write_videos(tmp_path / "prompts.json", ["one"], clips(1), fps=8.0)
