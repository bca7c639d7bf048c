import json

import pytest

from videojam_jax.data.captions import read_captions
from videojam_jax.errors import UserError

VIDEOS = ["a.mp4", "sub/b.mp4", "sub/c.webm"]


def read(root, videos=VIDEOS):
    texts = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.txt"))
    return read_captions(root, videos, texts)


def write(root, name, content):
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def test_a_text_file_beside_a_video_is_its_caption(tmp_path):
    write(tmp_path, "a.txt", b"\xef\xbb\xbf a ball\r\n  falls \n")
    write(tmp_path, "sub/c.txt", "größer")
    captions = read(tmp_path)
    assert captions.by_file == {"a.mp4": "a ball falls", "sub/c.webm": "größer"}
    assert captions.problems == []
    assert captions.unusable == {}


def test_videos_of_one_stem_share_a_text_file(tmp_path):
    write(tmp_path, "a.txt", "both")
    captions = read(tmp_path, ["a.mp4", "a.webm"])
    assert captions.by_file == {"a.mp4": "both", "a.webm": "both"}


def test_a_text_file_without_a_video_is_named(tmp_path):
    write(tmp_path, "lost.txt", "where is it")
    assert read(tmp_path).problems == [
        {"source": "lost.txt", "reason": "a caption without a video"}
    ]


def test_a_text_file_that_is_not_utf8_makes_its_video_unusable(tmp_path):
    write(tmp_path, "sub/b.txt", "größer".encode("latin-1"))
    captions = read(tmp_path)
    assert captions.unusable == {"sub/b.mp4": "its caption sub/b.txt is not UTF-8 (byte 0xf6)"}
    assert captions.by_file == {}


def test_jsonl_lines_name_files_from_the_root(tmp_path):
    rows = [
        {"file": "a.mp4", "caption": "one"},
        {"file": "./sub/b.mp4", "caption": "two\nlines", "score": 3},
        {"file": "sub\\c.webm", "caption": "é"},
    ]
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    write(tmp_path, "captions.jsonl", "\ufeff" + text + "\n\n")
    captions = read(tmp_path)
    assert captions.by_file == {"a.mp4": "one", "sub/b.mp4": "two lines", "sub/c.webm": "é"}
    assert captions.problems == []


def test_each_bad_jsonl_line_is_named_and_the_others_count(tmp_path):
    lines = [
        b"{broken",
        b'["a.mp4", "list"]',
        b'{"file": "sub/b.mp4"}',
        b'{"file": 3, "caption": "number"}',
        b'{"file": "nowhere.mp4", "caption": "no video"}',
        b'{"file": "sub/c.webm", "caption": "bad \xff byte"}',
        b'{"file": "a.mp4", "caption": "good"}',
        b'{"file": "a.mp4", "caption": "again"}',
        b"\xff\xfe",
    ]
    write(tmp_path, "captions.jsonl", b"\n".join(lines))
    captions = read(tmp_path)
    assert captions.by_file == {"a.mp4": "good"}
    assert captions.unusable == {
        "sub/b.mp4": 'its caption, captions.jsonl line 3, has no text under "caption"',
        "sub/c.webm": "its caption, captions.jsonl line 6, is not UTF-8 (byte 0xff)",
    }
    problems = {one["source"]: one["reason"] for one in captions.problems}
    assert problems.pop("captions.jsonl:1").startswith("line 1 is not JSON: ")
    assert problems == {
        "captions.jsonl:2": 'line 2 is not an object with "file" and "caption"',
        "captions.jsonl:4": 'line 4 has no text under "file"',
        "captions.jsonl:5": "line 5: a caption without a video: no file nowhere.mp4",
        "captions.jsonl:8": "line 8: a second caption for a.mp4; line 7 has the first",
        "captions.jsonl:9": "line 9 is not UTF-8 (byte 0xff)",
    }


def test_an_escaped_half_character_is_not_text(tmp_path):
    write(tmp_path, "captions.jsonl", r'{"file": "a.mp4", "caption": "half \ud800"}')
    assert "is not UTF-8" in read(tmp_path).unusable["a.mp4"]


def test_csv_takes_the_two_columns_by_name(tmp_path):
    text = 'id,caption,file\n1,"a, ""quoted""\ncaption",a.mp4\n2,two,sub/b.mp4\n'
    write(tmp_path, "captions.csv", text)
    captions = read(tmp_path)
    assert captions.by_file == {"a.mp4": 'a, "quoted" caption', "sub/b.mp4": "two"}
    assert captions.problems == []


def test_bad_csv_rows_are_named_by_their_first_line(tmp_path):
    data = b'file,caption\na.mp4,"two\nlines"\nshort\nsub/b.mp4,bad \xe9\nnone.mp4,x\n'
    write(tmp_path, "captions.csv", data)
    captions = read(tmp_path)
    assert captions.by_file == {"a.mp4": "two lines"}
    assert captions.unusable == {
        "sub/b.mp4": "its caption, captions.csv line 5, is not UTF-8 (byte 0xe9)"
    }
    assert captions.problems == [
        {"source": "captions.csv:4", "reason": "line 4 has 1 columns of 2"},
        {
            "source": "captions.csv:6",
            "reason": "line 6: a caption without a video: no file none.mp4",
        },
    ]


def test_a_csv_with_a_broken_quote_keeps_the_rows_before(tmp_path):
    write(tmp_path, "captions.csv", 'file,caption\na.mp4,one\nsub/b.mp4,"open\n')
    captions = read(tmp_path)
    assert captions.by_file == {"a.mp4": "one"}
    assert "the rest is not read" in captions.problems[0]["reason"]


@pytest.mark.parametrize("text", ["", "a.mp4,one\n", "file,text\n"])
def test_a_csv_without_its_columns_is_an_error(tmp_path, text):
    write(tmp_path, "captions.csv", text)
    with pytest.raises(UserError, match='must name the columns "file" and "caption"'):
        read(tmp_path)


def test_two_tables_are_an_error(tmp_path):
    write(tmp_path, "captions.csv", "file,caption\n")
    write(tmp_path, "captions.jsonl", "")
    with pytest.raises(UserError, match="both captions.jsonl and captions.csv"):
        read(tmp_path)


def test_a_text_file_comes_before_the_table(tmp_path):
    write(tmp_path, "a.txt", "beside")
    write(tmp_path, "captions.csv", "file,caption\na.mp4,table\nsub/b.mp4,table\n")
    assert read(tmp_path).by_file == {"a.mp4": "beside", "sub/b.mp4": "table"}
