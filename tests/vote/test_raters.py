import math

import pytest

from videojam_jax.vote.raters import krippendorff_alpha, rater_agreement


def test_alpha_of_krippendorffs_example_with_four_observers_and_missing_answers():
    # Krippendorff (2011), example C: nominal alpha is 0.743.
    observers = ["12332141 2...", "1233 2241 25.3", ".3332 3422 51.", "1233 2441 251."]
    rows = [row.replace(" ", "") for row in observers]
    assert {len(row) for row in rows} == {12}
    units = [[row[i] for row in rows if row[i] != "."] for i in range(12)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_alpha_is_one_where_all_agree_and_undefined_where_all_say_the_same():
    assert krippendorff_alpha([("a", "a"), ("b", "b", "b")]) == 1
    assert math.isnan(krippendorff_alpha([("a", "a"), ("a", "a")]))
    assert math.isnan(krippendorff_alpha([("a",), ("b",)]))
    assert math.isnan(krippendorff_alpha([]))


@pytest.mark.parametrize("n", [1, 2, 10])
def test_alpha_of_two_raters_who_never_agree_has_its_closed_form(n):
    # n pairs, each one a and one b: D_o = 1, D_e = 2 n n / (2 n (2 n - 1)).
    assert krippendorff_alpha([("a", "b")] * n) == pytest.approx(1 - (2 * n - 1) / n)


def test_alpha_of_answers_that_are_independent_comes_near_zero():
    # Every combination of two answers equally often; only the sample's own size is left.
    units = [(x, y) for x in "ab" for y in "ab"] * 250
    assert krippendorff_alpha(units) == pytest.approx(1 / 2000)


def test_a_pair_with_one_answer_changes_nothing():
    units = [("a", "b"), ("a", "a"), ("b", "b", "a")]
    assert rater_agreement([*units, ("b",), ("a",), ()]) == rater_agreement(units)
    assert rater_agreement(units).pairs == 3
    assert rater_agreement(units).unanimous == pytest.approx(1 / 3)


def test_agreement_of_nobody_is_not_a_number():
    nothing = rater_agreement([("a",)])
    assert nothing.pairs == 0 and math.isnan(nothing.unanimous) and math.isnan(nothing.alpha)
