import contextlib
import json
import math
import re

import pytest

from videojam_jax.errors import UserError
from videojam_jax.measure.statistics import wilson
from videojam_jax.vote.questions import NAMES
from videojam_jax.vote.store import SKIP, Votes
from videojam_jax.vote.table import results, to_markdown, write_json

PAIRS = 10


@pytest.fixture(scope="module")
def voted(tmp_path_factory):
    """Anna answers all of ten pairs, Bela seven and a part of one, and skips two; Cleo nothing.

    In "text" both always choose A; in "quality" Anna A and Bela B; in "motion" Anna the
    left clip, which is A in even pairs, and Bela A.
    """
    keys = [("a | ball", number) for number in range(PAIRS)]
    path = tmp_path_factory.mktemp("voted") / "votes.sqlite"
    votes = Votes(path, keys, "these", seed=3, names=("jam_1", "base"))
    with contextlib.closing(votes):
        anna, bela, _ = (votes.enter(name) for name in ("Anna", "Be|a", "Cleo"))
        for pair in range(PAIRS):
            a_side = ("left", "right")[pair % 2]
            votes.add(anna, pair, "text", "a", a_side)
            votes.add(anna, pair, "quality", "a", a_side)
            votes.add(anna, pair, "motion", "ab"[pair % 2], a_side)
            if pair < 8:
                votes.add(bela, pair, "text", "a", a_side)
            if pair < 7:
                votes.add(bela, pair, "quality", "b", a_side)
                votes.add(bela, pair, "motion", "a", a_side)
            if pair >= 8:
                votes.add(bela, pair, SKIP, SKIP, a_side)
    return path


def test_counts_shares_and_intervals_are_those_of_the_votes(voted):
    found = results(voted)
    assert (found.names, found.pairs, found.seed) == (("jam_1", "base"), PAIRS, 3)
    counts = {name: (answers.for_a, answers.votes) for name, answers in found.questions.items()}
    assert counts == {"text": (18, 18), "quality": (10, 17), "motion": (5 + 7, 17)}
    for name in NAMES:
        assert found.questions[name].share == wilson(*counts[name])
    # Anna's motion answers are all "left"; Bela's seven are where A is: left in 0, 2, 4, 6.
    assert found.questions["motion"].left == pytest.approx((10 + 4) / 17)


def test_agreement_is_that_of_the_pairs_both_answered(voted):
    agree = {name: answers.agreement for name, answers in results(voted).questions.items()}
    assert (agree["text"].pairs, agree["text"].unanimous) == (8, 1)
    assert math.isnan(agree["text"].alpha)  # nobody ever chose B
    # 7 pairs, each one a and one b: 1 - (2 n - 1) / n.
    assert (agree["quality"].pairs, agree["quality"].unanimous) == (7, 0)
    assert agree["quality"].alpha == pytest.approx(1 - 13 / 7)
    # Of 14 answers 11 are a; 3 pairs differ: 1 - 13 * 2 * 3 / (14^2 - 11^2 - 3^2).
    assert agree["motion"].unanimous == pytest.approx(4 / 7)
    assert agree["motion"].alpha == pytest.approx(1 - 13 * 6 / 66)


def test_each_rater_has_own_counts(voted):
    anna, bela, cleo = results(voted).raters
    assert (anna.name, anna.complete, anna.skipped) == ("Anna", PAIRS, 0)
    assert anna.for_a == {"text": 10, "quality": 10, "motion": 5}
    assert (bela.complete, bela.skipped) == (7, 2)
    assert bela.votes == {"text": 8, "quality": 7, "motion": 7}
    assert (cleo.complete, cleo.skipped, sum(cleo.votes.values())) == (0, 0, 0)
    assert math.isnan(cleo.left)
    assert results(voted).skipped == 2


def test_markdown_says_it_in_whole_tables(voted):
    text = to_markdown(results(voted))
    assert "**jam\\_1** (A) against **base** (B): 10 pairs, 3 raters, 2 skipped" in text
    share = wilson(12, 17)
    interval = f"{100 * share.low:.1f} – {100 * share.high:.1f} %"
    assert f"| motion | 70.6 % | {interval} | 17 | 57.1 % | 7 | -0.18 | 82.4 % |" in text
    assert "| Be\\|a | 8 of 8 | 0 of 7 | 7 of 7 |" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
    assert "Those of several raters on one pair are not" in text


def test_json_has_the_same_numbers_and_null_for_what_is_not_known(voted, tmp_path):
    path = write_json(tmp_path / "votes.json", results(voted))
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert content["questions"]["motion"]["for_a"] == 12
    assert content["questions"]["motion"]["share"]["mean"] == pytest.approx(12 / 17)
    assert content["questions"]["text"]["agreement"]["alpha"] is None
    assert content["raters"][2]["left"] is None
    assert content["skipped"] == 2


def test_table_of_no_votes_has_dashes(votes_file):
    Votes(votes_file, [("p", 0)], "these", seed=0, names=None).close()
    text = to_markdown(results(votes_file))
    assert "| text | – | – | 0 | – | 0 | – | – |" in text
    assert "| rater |" not in text


def test_a_table_that_cannot_be_written_is_an_error_that_names_it(voted, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        write_json(tmp_path / "nowhere" / "votes.json", results(voted))
