"""Files of prompts in every form they come in, and the set that is ours."""

import collections
import json

import pytest

from videojam_jax.errors import UserError
from videojam_jax.sample.prompts import (
    TaggedPrompt,
    load_prompts,
    named_prompts,
    names,
    read_prompts,
    tags,
)


@pytest.fixture
def read(tmp_path):
    """Reads what a file of this name and content holds."""

    def read(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_prompts(path)

    return read


def test_text_has_a_prompt_a_line(read):
    found = read(
        "prompts.txt", "\ufeffa dog runs\r\n\r\n  a cat,  \t sits \n\n# not a comment\rlast"
    )
    assert found.texts == ["a dog runs", "a cat, sits", "# not a comment", "last"]
    assert {prompt.tags for prompt in found.prompts} == {()}


def test_what_unicode_calls_a_line_end_does_not_end_a_prompt(read):
    assert read("prompts", "one\u2028still one\x0cand on\ntwo").texts == [
        "one still one and on",
        "two",
    ]


def test_table_of_movie_gen_video_bench_s_form(read):
    """Columns `prompt,concept,motion_level`; a prompt may be of several concepts."""
    found = read(
        "MovieGenVideoBenchWithTag.csv",
        'prompt,concept,motion_level\n"A lorry, seen from above.","scene,camera motion",high\n'
        "A crab walks.,animal,low\n",
    )
    assert found.prompts == (
        TaggedPrompt("A lorry, seen from above.", ("scene", "camera motion", "high")),
        TaggedPrompt("A crab walks.", ("animal", "low")),
    )


@pytest.mark.parametrize("column", ["Prompt", " CAPTION ", "text", "prompt_en"])
@pytest.mark.parametrize("suffix,separator", [("csv", ","), ("tsv", "\t"), ("CSV", ",")])
def test_column_of_prompts_may_have_any_of_their_names(read, column, suffix, separator):
    table = f"id,tags,{column}\n7,a; b|c,the text\n\n8,,two\nlines\n".replace(
        "two\nlines", '"two\nlines"'
    )
    found = read(f"set.{suffix}", table.replace(",", separator))
    assert found.prompts == (TaggedPrompt("the text", ("a", "b", "c")), TaggedPrompt("two lines"))


def test_single_column_needs_no_header(read):
    assert read("set.csv", 'a dog\n"a cat, asleep"\n').texts == ["a dog", "a cat, asleep"]
    assert read("set.csv", "caption\na dog\n").texts == ["a dog"]


def test_json_lines_and_json_lists_hold_objects_or_strings(read):
    rows = [
        {"Prompt": "a dog", "dimension": ["motion", "scene"], "seed": 3, "extra": None},
        "a cat",
        {"caption": "rain", "tag": "weather|slow"},
    ]
    wanted = (
        TaggedPrompt("a dog", ("motion", "scene")),
        TaggedPrompt("a cat"),
        TaggedPrompt("rain", ("weather", "slow")),
    )
    lines = "\n\n".join(json.dumps(row) for row in rows)
    assert read("set.jsonl", lines).prompts == wanted
    assert read("set.json", json.dumps(rows)).prompts == wanted


def test_prompt_that_is_there_again_is_kept_once_and_told(read):
    found = read("prompts.txt", "a dog\na cat\na  dog\na dog\n")
    assert found.texts == ["a dog", "a cat"]
    assert found.repeated == ("a dog", "a dog")


def test_tags_are_told_each_once(read):
    found = read("set.csv", "prompt,tags\none,Physics\ntwo,physics;slow\nthree,slow\n")
    assert tags(found.prompts) == ["Physics", "physics", "slow"]


@pytest.mark.parametrize(
    "name,content,message",
    [
        ("p.txt", b"fine\n\xe9t\xe9\n", r"p.txt, line 2: not UTF-8"),
        ("p.txt", "caf\u00e9".encode("utf-16"), r"p.txt, line 1: not UTF-8"),
        ("p.txt", "\ufeff \n\n", "p.txt: holds no prompt"),
        ("p.csv", "", "p.csv: holds no prompt"),
        ("p.csv", "prompt,tags\n", "p.csv: holds no prompt"),
        ("p.csv", "words,kind\na dog,animal\n", "p.csv: no column 'prompt'.*'words', 'kind'"),
        ("p.csv", "prompt,Prompt\na,b\n", "two columns 'prompt'"),
        ("p.csv", "prompt,kind\na dog\n", "p.csv, line 2: 1 cells under 2 columns"),
        ("p.csv", "prompt,kind\na dog, big,animal\n", "p.csv, line 2: 3 cells under 2 columns"),
        ("p.csv", "prompt,kind\n,animal\n", "p.csv, line 2: its 'prompt' is no text"),
        ("p.csv", 'prompt\n"a dog\n', "p.csv, line 2: "),
        ("p.jsonl", '"a"\n{"prompt": ', "p.jsonl, line 2: is not JSON"),
        ("p.jsonl", "[1]", "p.jsonl, line 1: wanted a string or an object"),
        ("p.jsonl", '{"words": "a"}', "p.jsonl, line 1: no 'prompt'; it has 'words'"),
        ("p.jsonl", '{"prompt": "\\ud800"}', "p.jsonl, line 1: its 'prompt' is no text"),
        ("p.json", '{"prompt": "a"}', "p.json: wanted a list"),
        ("p.json", '["a", 3]', "p.json, entry 1: wanted a string"),
    ],
)
def test_file_that_cannot_be_used_is_an_error_that_says_where(read, name, content, message):
    with pytest.raises(UserError, match=message) as caught:
        read(name, content)
    assert "\n" not in str(caught.value)


def test_missing_file_and_unknown_name_are_errors(tmp_path):
    with pytest.raises(UserError, match="cannot read .*absent.txt"):
        read_prompts(tmp_path / "absent.txt")
    with pytest.raises(UserError, match="motion46: there is no such file.*there is motion64"):
        load_prompts("motion46")
    with pytest.raises(UserError, match="no set of prompts '../motion64'"):
        named_prompts("../motion64")
    with pytest.raises(UserError, match="cannot read"):
        load_prompts(tmp_path)


def test_set_or_file_is_loaded_by_its_name(tmp_path):
    (tmp_path / "mine.txt").write_text("a dog\n")
    assert load_prompts(tmp_path / "mine.txt").texts == ["a dog"]
    assert load_prompts("motion64") == named_prompts("motion64")
    assert names() == ["motion64"]


def test_motion64_has_sixteen_prompts_of_each_kind_of_motion():
    found = named_prompts("motion64")
    assert len(found.prompts) == 64 and not found.repeated
    kinds = ["basic motion", "complex motion", "rotational motion", "physics"]
    assert tags(found.prompts) == kinds
    assert collections.Counter(p.tags for p in found.prompts) == {(kind,): 16 for kind in kinds}


def test_prompts_of_motion64_are_sentences_that_differ_from_their_beginning_on():
    texts = named_prompts("motion64").texts
    assert all(text[0].isupper() and text.endswith(".") for text in texts)
    assert all(40 <= len(text) <= 120 and text.isascii() for text in texts)
    assert len({" ".join(text.split()[:5]).lower() for text in texts}) == 64
