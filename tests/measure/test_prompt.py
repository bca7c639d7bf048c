"""What a caption says is read back exactly, and nothing else is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videojam_jax.data.scenes import ALONE, DIRECTED, KINDS
from videojam_jax.data.shapes import SHAPES
from videojam_jax.data.simulate import Options, simulate
from videojam_jax.data.stage import COLOURS
from videojam_jax.measure.prompt import WAYS, Prompt, caption, parse

BODY = st.tuples(st.sampled_from(list(COLOURS)), st.sampled_from(list(SHAPES)))


@st.composite
def prompts(draw):
    kind = draw(st.sampled_from(list(KINDS)))
    if kind in ALONE:
        names = [(draw(st.sampled_from(list(COLOURS))), ALONE[kind].name)]
    else:
        names = draw(st.lists(BODY, min_size=1, max_size=2 if kind == "collide" else 8))
    return Prompt(
        kind,
        tuple(names),
        draw(st.sampled_from((-1, 1))) if kind in DIRECTED else 0,
        draw(st.booleans()) if kind == "roll" else False,
        draw(st.sampled_from([(0, 0), *WAYS.values()])),
    )


@given(prompts())
def test_what_is_described_is_parsed_back(prompt):
    assert parse(caption(prompt)) == prompt


def test_caption_of_a_simulated_clip_says_what_is_true_of_it():
    for index in range(80):
        clip = simulate(index, Options(kinds=tuple(KINDS), frames=3, height=16, width=16), 4)
        prompt = parse(clip.caption)
        states = clip.states
        assert prompt.kind == clip.kind
        assert prompt.names == tuple(zip(states.colours, states.shapes, strict=True))
        assert prompt.direction == states.laws.get("direction", 0)
        assert prompt.slope == bool(states.laws.get("slope", 0))
        pan = states.camera[-1] - states.camera[0]
        assert prompt.pan == tuple((pan > 0).astype(int) - (pan < 0))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a dog runs on the beach",
        "a red disc",
        "an red disc falls",  # the article
        "a red blob falls",
        "a mauve disc falls",
        "a red disc rolls",  # no direction
        "a red disc falls to the left",
        "three bodies fall: a red disc and a blue ring",
        "two bodies fall: a red disc, a blue ring",
        "a red disc hits a",
        "a red disc hits a blue ring and a pink ring",
        "a red disc falls, the camera pans away",
        "a red disc falls.",
        "A red disc falls",
        "a red disc falls\n",
        "a red disc walks to the left",
        "a red figure falls",
        "a red figure walks",  # no direction
        "a red figure walks down a slope to the left",
        "a red wheel turns to the left",
        "a red figure turns clockwise",
        "two bodies walk to the left: a red figure and a blue figure",
    ],
)
def test_caption_of_another_form_is_not_parsed(text):
    assert parse(text) is None


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_not_without_an_error(text):
    prompt = parse(text)
    assert prompt is None or caption(prompt) == text
