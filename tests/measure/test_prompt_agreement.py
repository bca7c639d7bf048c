"""Each statement of a caption of a figure or a wheel is found true or false by itself."""

import dataclasses

import numpy as np
import pytest

from videojam_jax.data.scenes import ALONE
from videojam_jax.data.simulate import Options, simulate
from videojam_jax.measure.prompt import Prompt, parse
from videojam_jax.measure.prompt_agreement import prompt_agreement
from videojam_jax.measure.shades import shades
from videojam_jax.measure.tracked import track_bodies

STATEMENTS = 6  # number, colour, shape, motion, direction, pan


def clips(kind: str) -> list:
    options = Options(kinds=(kind,), height=40, width=40, texture=0.5)
    return [simulate(index, options, 4) for index in range(4)]


def agreement(video: np.ndarray, prompt: Prompt) -> float:
    tracked = track_bodies(video)
    return prompt_agreement(tracked, prompt, shades(video, tracked.bodies[0]))


@pytest.mark.parametrize("kind", ALONE)
def test_true_caption_agrees_and_each_wrong_word_costs_its_statement(kind):
    for clip in clips(kind):
        prompt = parse(clip.caption)
        ((colour, shape),) = prompt.names
        other = "red" if colour != "red" else "blue"
        assert agreement(clip.video, prompt) == 1
        for wrong, lost in (
            ({"direction": -prompt.direction}, 1),
            ({"pan": (0, 1) if prompt.pan != (0, 1) else (0, -1)}, 1),
            # Nothing that is said of a body that is not there is so.
            ({"names": ((other, shape),)}, 4),
        ):
            value = agreement(clip.video, dataclasses.replace(prompt, **wrong))
            assert value == pytest.approx(1 - lost / STATEMENTS), (clip.caption, wrong)


@pytest.mark.parametrize(
    "kind, other", [("walk", "jump"), ("walk", "cartwheel"), ("jog", "cartwheel"),
                    ("cartwheel", "walk"), ("jump", "walk"), ("jump", "cartwheel")],
)  # fmt: skip
def test_another_verb_costs_its_statement(kind, other):
    values = [
        agreement(clip.video, dataclasses.replace(parse(clip.caption), kind=other))
        for clip in clips(kind)
    ]
    assert np.mean(values) == pytest.approx(1 - 1 / STATEMENTS, abs=0.03)


def test_figure_is_none_of_the_five_shapes_and_a_wheel_is_a_disc():
    for figure, wheel in zip(clips("walk"), clips("wheel"), strict=True):
        ((colour, _),) = parse(figure.caption).names
        of_disc = Prompt("roll", ((colour, "disc"),), 1)
        assert agreement(figure.video, of_disc) < 1
        ((colour, _),) = parse(wheel.caption).names
        named = parse(wheel.caption)
        as_figure = dataclasses.replace(named, names=((colour, "figure"),))
        assert agreement(wheel.video, named) == 1
        assert agreement(wheel.video, as_figure) == pytest.approx(1 - 1 / STATEMENTS)
