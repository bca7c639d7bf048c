from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videojam_jax.vote.order import SIDES, a_side, show_order

KEYS = [(f"prompt {i}", 0) for i in range(40)]


@given(st.integers(), st.text(max_size=5), st.integers(0, 30))
def test_every_pair_is_shown_once_on_sides_that_do_not_change(seed, rater, pairs):
    order = show_order(seed, rater, KEYS[:pairs])
    assert sorted(order) == list(range(pairs))
    assert order == show_order(seed, rater, KEYS[:pairs])
    assert {a_side(seed, rater, key) for key in KEYS[:pairs]} <= set(SIDES)


def test_sides_are_a_fair_coin_for_raters_pairs_and_seeds():
    # 4000 tosses: five standard deviations are 4 %.
    many = range(100)
    for sides in (
        [a_side(0, f"rater {r}", key) for r in many for key in KEYS],
        [a_side(seed, "anna", key) for seed in many for key in KEYS],
        [a_side(0, "anna", ("a ball", number)) for number in range(4000)],
    ):
        assert sides.count("left") / 4000 == pytest.approx(0.5, abs=0.04)


def test_two_raters_see_sides_and_orders_that_have_nothing_to_do_with_each_other():
    same = [
        a_side(0, f"anna {i}", key) == a_side(0, f"bela {i}", key)
        for i in range(100)
        for key in KEYS
    ]
    assert sum(same) / 4000 == pytest.approx(0.5, abs=0.04)
    # Every pair comes first equally often, 25 times of 1000; six deviations are 30.
    firsts = Counter(show_order(0, f"rater {i}", KEYS)[0] for i in range(1000))
    assert set(firsts) == set(range(40))
    assert max(firsts.values()) < 55


def test_the_side_of_a_pair_tells_nothing_of_its_place():
    left = []
    for i in range(100):
        first_half = show_order(0, f"rater {i}", KEYS)[:20]
        left += [a_side(0, f"rater {i}", KEYS[place]) == "left" for place in first_half]
    assert sum(left) / len(left) == pytest.approx(0.5, abs=0.06)
