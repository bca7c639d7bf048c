"""What of a prompt an encoder is given."""

import pytest

from videojam_jax.models.text.reading import READINGS, fps_prefix, quoted, read


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ('a sign says "open"', "open"),
        ("a sign says “open”", "open"),
        ("ein Schild, auf dem „offen“ steht", "offen"),
        ('a shop "Fish & Chips" beside “Books”', "Fish & Chips Books"),
        ('“mixed" marks', "mixed"),
        ('" spaced " and ""', "spaced"),
        ('"Größe 7 ½"', "Größe 7 ½"),
        ('two\nlines "one\ntwo"', "one\ntwo"),
        ("it's the dog's bone", ""),  # apostrophes quote nothing
        ('a 12" record', ""),  # nor does one mark alone
        ("a dog runs", ""),
        ("", ""),
    ],
)
def test_what_is_quoted_is_what_stands_between_double_marks(prompt, wanted):
    assert quoted(prompt) == read(prompt, "quoted") == read(prompt, "quoted", "FPS-24") == wanted


def test_the_rate_stands_before_a_whole_prompt_and_not_before_the_empty_one():
    assert read('a "dog" runs', "prompt", fps_prefix(24.0)) == 'FPS-24 a "dog" runs'
    assert read('a "dog" runs', "prompt") == 'a "dog" runs'
    assert fps_prefix(23.976) == "FPS-23.976"
    for reading in READINGS:
        assert read("", reading, "FPS-24") == ""
