import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from videojam_jax.errors import UserError
from videojam_jax.vote.raters import rater_key
from videojam_jax.vote.store import SKIP, Votes, read_votes

KEYS = [("a ball falls", 0), ("a ball falls", 1), ("a ring rolls", 0)]


@contextlib.contextmanager
def votes_in(path, keys=KEYS, fingerprint="these", seed=0, names=("jam", "base")):
    votes = Votes(path, keys, fingerprint, seed=seed, names=names)
    with contextlib.closing(votes):
        yield votes


def test_an_answer_is_there_after_the_file_was_opened_anew(votes_file):
    with votes_in(votes_file) as votes:
        anna = votes.enter("Anna")
        votes.add(anna, 2, "motion", "b", "right")
    with votes_in(votes_file) as votes:
        assert votes.standing("anna") == {(2, "motion"): "b"}
        assert votes.rater_name("anna") == "Anna" and votes.rater_name("bela") is None
    record = read_votes(votes_file)
    assert record.names == ("jam", "base") and record.keys == tuple(KEYS)
    (vote,) = record.votes
    assert vars(vote) == {
        "rater": "anna", "pair": 2, "question": "motion", "choice": "b", "a_side": "right",
    }  # fmt: skip


def test_a_changed_answer_counts_as_it_was_last_and_the_earlier_one_is_kept(votes_file):
    with votes_in(votes_file) as votes:
        anna = votes.enter("Anna")
        votes.add(anna, 0, "text", "a", "left")
        votes.add(anna, 0, "text", "b", "left")
    assert [vote.choice for vote in read_votes(votes_file).votes] == ["b"]
    with contextlib.closing(sqlite3.connect(votes_file)) as database:
        rows = database.execute("SELECT choice, at FROM votes ORDER BY id").fetchall()
    assert [choice for choice, _ in rows] == ["a", "b"]
    assert rows[0][1] <= rows[1][1] and rows[0][1].endswith("+00:00")


def test_taking_back_goes_from_the_last_answer_to_the_first_and_ends(votes_file):
    with votes_in(votes_file) as votes:
        anna, bela = votes.enter("Anna"), votes.enter("Bela")
        votes.add(anna, 0, "text", "a", "left")
        votes.add(anna, 1, "text", "a", "left")
        votes.add(bela, 0, "text", "b", "left")
        votes.add(anna, 0, "text", "b", "left")  # changed: now the last that Anna did
        left = []
        while votes.take_back(anna):
            left.append(votes.standing(anna))
        assert left == [{(1, "text"): "a"}, {}]
        assert votes.standing(bela) == {(0, "text"): "b"}


def test_answers_of_a_skipped_pair_do_not_count_until_the_skip_is_taken_back(votes_file):
    with votes_in(votes_file) as votes:
        anna = votes.enter("Anna")
        votes.add(anna, 1, "text", "a", "left")
        votes.add(anna, 1, SKIP, SKIP, "left")
        record = read_votes(votes_file)
        assert record.votes == () and record.skipped == (("anna", 1),)
        votes.take_back(anna)
        record = read_votes(votes_file)
        assert [vote.choice for vote in record.votes] == ["a"] and record.skipped == ()


def test_a_name_is_one_rater_however_it_is_written(votes_file):
    with votes_in(votes_file) as votes:
        assert votes.enter("Anna Li") == votes.enter("  anna   LI ")
    assert read_votes(votes_file).raters == {"anna li": "Anna Li"}


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\x00b", "a\u202eb"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ValueError, match="a name"):
        rater_key(name)


@pytest.mark.parametrize(
    "other,words",
    [
        ({"fingerprint": "those"}, "holds votes on other clips"),
        ({"seed": 7}, "was begun with --seed 0"),
    ],
)
def test_votes_on_other_clips_or_in_another_order_are_refused_and_stay(votes_file, other, words):
    with votes_in(votes_file) as votes:
        votes.add(votes.enter("Anna"), 0, "text", "a", "left")
    before = votes_file.read_bytes()
    with pytest.raises(UserError, match=words) as error, votes_in(votes_file, **other):
        pass
    assert str(votes_file) in str(error.value)
    assert votes_file.read_bytes() == before


def test_names_of_the_models_are_kept_unless_others_are_given(votes_file):
    for given, kept in [(None, ("A", "B")), (("x", "y"), ("x", "y")), (None, ("x", "y"))]:
        with votes_in(votes_file, names=given) as votes:
            assert votes.names == kept
        assert read_votes(votes_file).names == kept


def make_foreign(path, what):
    if what == "text":
        path.write_text("no database at all, but long enough to have a header\n" * 20)
        return
    if what == "folder":
        path.mkdir()
        return
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE bookmarks (address TEXT)")
        database.commit()


@pytest.mark.parametrize("what", ["text", "folder", "another program's"])
def test_a_file_that_holds_no_votes_is_refused_and_stays(votes_file, what):
    make_foreign(votes_file, what)
    before = votes_file.read_bytes() if votes_file.is_file() else None
    with pytest.raises(UserError, match="votes.sqlite"), votes_in(votes_file):
        pass
    with pytest.raises(UserError, match="votes.sqlite"):
        read_votes(votes_file)
    assert before is None or votes_file.read_bytes() == before


def test_votes_of_a_later_version_are_refused(votes_file):
    with votes_in(votes_file):
        pass
    with contextlib.closing(sqlite3.connect(votes_file)) as database:
        database.execute("PRAGMA user_version = 2")
    with pytest.raises(UserError, match="in form 2, and this version of videojam reads form 1"):
        read_votes(votes_file)


def test_votes_that_are_not_there_are_an_error_and_no_file_is_made(votes_file):
    with pytest.raises(UserError, match="votes.sqlite: no such file"):
        read_votes(votes_file)
    assert not votes_file.exists()


VOTER = """
import os, signal, sys
from pathlib import Path
from videojam_jax.vote.store import Votes
votes = Votes(Path(sys.argv[1]), [("p", i) for i in range(9)], "these", seed=0, names=None)
anna = votes.enter("Anna")
for i in range(5):
    votes.add(anna, i, "text", "a", "left")
with votes.transaction():
    votes.add(anna, 5, "text", "a", "left")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_every_vote_it_had_kept_and_no_half_one(votes_file):
    done = subprocess.run([sys.executable, "-c", VOTER, votes_file], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    record = read_votes(votes_file)
    assert [vote.pair for vote in record.votes] == list(range(5))


def test_between_two_votes_the_file_alone_is_all_of_it(votes_file, tmp_path):
    with votes_in(votes_file) as votes:
        votes.add(votes.enter("Anna"), 0, "text", "a", "left")
        copy = shutil.copy(votes_file, tmp_path / "copy.sqlite")
        assert [path.name for path in tmp_path.glob("votes*")] == ["votes.sqlite"]
        assert len(read_votes(copy).votes) == 1
