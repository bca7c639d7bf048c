"""Records as bytes, and padded texts."""

import hashlib

import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.data import records


def record(seed=0, text=None):
    rng = np.random.default_rng(seed)
    video, motion = rng.normal(size=(2, 2, 3, 4, 5)).astype(jnp.bfloat16)
    text = np.array([1, 70, 71], np.int32) if text is None else text
    return {
        "video": video,
        "motion": motion,
        "text": text,
        "caption": "a red disc falls: größer, 落ちる",
        "source_id": "cats/one.mp4#2",
        "fps": 7.5,
    }


@pytest.mark.parametrize(
    "text", [None, np.full((4, 6), 0.3, jnp.bfloat16)], ids=["tokens", "embeddings"]
)
def test_a_record_comes_back_from_its_bytes_with_types_and_bits_unchanged(text):
    written = record(text=text)
    read = records.from_bytes(records.to_bytes(written))
    assert set(read) == set(records.KEYS)
    for key in ("video", "motion", "text"):
        assert read[key].dtype == written[key].dtype and read[key].shape == written[key].shape
        assert read[key].tobytes() == written[key].tobytes()
    for key in ("caption", "source_id", "fps"):
        assert read[key] == written[key]


def test_equal_records_give_equal_bytes_whatever_the_order_of_their_keys():
    one = records.to_bytes(record())
    other = records.to_bytes(dict(reversed(record().items())))
    assert hashlib.sha256(one).digest() == hashlib.sha256(other).digest()
    assert one != records.to_bytes(record(seed=1))


def test_texts_are_stored_as_int32_or_bfloat16():
    assert records.stored_text(np.array([1, 2], np.int64)).dtype == np.int32
    assert records.stored_text(np.ones((2, 3), np.float32)).dtype == jnp.bfloat16


def test_a_text_alone_comes_back_from_its_bytes():
    np.testing.assert_array_equal(
        records.text_from_bytes(records.text_to_bytes(np.array([1, 9]))), [1, 9]
    )


def test_padding_keeps_the_texts_and_masks_the_rest():
    texts = [np.full((n, 2), n, jnp.bfloat16) for n in (3, 1, 4)]
    padded, mask = records.pad_text(texts, 5)
    assert padded.shape == (3, 5, 2) and padded.dtype == jnp.bfloat16
    np.testing.assert_array_equal(mask.sum(1), [3, 1, 4])
    for row, text, seen in zip(padded, texts, mask, strict=True):
        np.testing.assert_array_equal(row[seen], text)
        assert not row[~seen].any()


def test_a_text_that_does_not_fit_is_an_error_not_cut():
    with pytest.raises(ValueError, match="4 does not fit into max_length=3"):
        records.pad_text([np.zeros(4, np.int32)], 3)
