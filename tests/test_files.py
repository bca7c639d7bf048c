"""Small files that are whole or not there."""

import os
import subprocess
import sys
import threading

import pytest

from videojam_jax.errors import UserError
from videojam_jax.files import keep_synced, passing_name, write_whole


def test_text_and_bytes_replace_what_was_there_and_leave_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    for content in ("größer\n", b"\x00bytes"):
        assert write_whole(path, content) == path
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_within_passes_through_and_the_old_file_stays(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="of another file"), passing_name(path) as passing:
        passing.write_text("half")
        raise OSError("of another file")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_killed_writer_leaves_the_old_file_and_a_hidden_one_with_its_tag(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    program = (
        "import os, pathlib, signal, sys\n"
        "from videojam_jax.files import passing_name\n"
        "with passing_name(pathlib.Path(sys.argv[1]), tag='p7') as passing:\n"
        "    passing.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == -9
    (hidden,) = set(os.listdir(tmp_path)) - {"a.txt"}
    assert hidden.startswith(".a.txt.p7.") and hidden.endswith(".part")
    assert path.read_text() == "old"


def test_a_reader_never_sees_a_part_while_several_write(tmp_path):
    path, contents = tmp_path / "a.txt", [letter * 300_000 for letter in "abcd"]
    write_whole(path, contents[0])
    writers = [
        threading.Thread(target=lambda text=text: [write_whole(path, text) for _ in range(20)])
        for text in contents
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_text() in contents
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_keeps_it_from_being_written_is_one_line_that_names_the_file(tmp_path):
    with pytest.raises(UserError, match="cannot write .*absent/a.txt: there is no folder .*absent"):
        write_whole(tmp_path / "absent" / "a.txt", "")
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match="cannot write .*taken: Is a directory"):
        write_whole(tmp_path / "taken", "")
    with pytest.raises(UserError, match="a.txt: its temporary file went away"):
        with passing_name(tmp_path / "a.txt") as passing:
            passing.write_text("half")
            passing.unlink()
    assert os.listdir(tmp_path) == ["taken"]


def test_what_is_flushed_of_an_open_file_goes_on_to_the_disk(tmp_path, monkeypatch):
    synced, sizes = threading.Event(), []

    def fsync(number):
        sizes.append(os.fstat(number).st_size)
        synced.set()

    monkeypatch.setattr(os, "fsync", fsync)
    with (tmp_path / "a.log").open("a", buffering=1) as file:
        keep_synced(file, seconds=0.001)
        for size in (7, 14):
            file.write("a line\n")
            while not sizes or sizes[-1] != size:
                assert synced.wait(30)
                synced.clear()
    for thread in threading.enumerate():
        if thread.name.endswith("a.log"):
            thread.join(30)
            assert not thread.is_alive(), "it ends with the file"
    assert len(sizes) <= 3, "what did not grow is left alone"
