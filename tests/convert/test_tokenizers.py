"""Tokenizers from files that are written here, against ids that can be told by hand."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from videojam_jax.convert.tokenizers import ByteTokens, _from_spiece, open_tokenizer
from videojam_jax.errors import UserError
from videojam_jax.models.text.pretrained import Tokenizer

UNKNOWN, CONTROL, USER_DEFINED, BYTE = 2, 3, 4, 6  # kinds of pieces; 1 is a normal one


def varint(value):
    found = b""
    while value > 0x7F:
        found += bytes([value & 0x7F | 0x80])
        value >>= 7
    return found + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value)


def block(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def spiece(pieces, trainer=b"", normaliser=b""):
    """A model file: `pieces` are (piece, score, kind)."""
    listed = b""
    for piece, score, kind in pieces:
        record = block(1, piece.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score)
        listed += block(1, record + number(3, kind))
    return listed + block(2, trainer) + block(3, normaliser)


BASE = [
    ("<pad>", 0.0, CONTROL),
    ("</s>", 0.0, CONTROL),
    ("<unk>", 0.0, UNKNOWN),
    ("▁", -3.0, 1),
    ("a", -2.0, 1),
    ("b", -2.5, 1),
    ("▁a", -2.5, 1),
    ("ab", -3.5, 1),
    ("▁ab", -9.0, 1),
    ("s", -4.0, 1),
]


def t5_folder(tmp_path, *content):
    (tmp_path / "spiece.model").write_bytes(spiece(*content))
    return open_tokenizer(tmp_path, "t5")


def test_a_text_is_cut_where_the_scores_have_the_largest_sum(tmp_path):
    tokenizer = t5_folder(tmp_path, BASE)
    assert isinstance(tokenizer, Tokenizer)
    # "▁ab": "▁a" + "b" is -5, "▁" + "ab" -6.5, the whole -9.
    # "▁aab": "▁a" + "ab" is -6, "▁a" + "a" + "b" -7.
    assert tokenizer.encode(["ab", "aab", "a a", ""], 9) == [
        [6, 5, 1],
        [6, 7, 1],
        [6, 6, 1],
        [1],
    ]


def test_spaces_at_the_ends_and_doubled_ones_go(tmp_path):
    tokenizer = t5_folder(tmp_path, BASE)
    texts = tokenizer.encode(["  a   a ", "a a", "   "], 9)
    assert texts == [[6, 6, 1], [6, 6, 1], [1]]
    keeps = t5_folder(tmp_path, BASE, b"", number(4, 0))
    assert keeps.encode(["a  a"], 9) == [[6, 3, 6, 1]]


def test_a_run_of_unknown_characters_is_one_unknown(tmp_path):
    assert t5_folder(tmp_path, BASE).encode(["aXYZ日a"], 9) == [[6, 2, 4, 1]]


def test_unknown_characters_become_their_bytes_where_the_model_has_them(tmp_path):
    with_bytes = BASE + [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    tokenizer = t5_folder(tmp_path, with_bytes, number(35, 1))
    first = len(BASE)
    wanted = [first + byte for byte in "日".encode()]
    assert tokenizer.encode(["a日a"], 9) == [[6, *wanted, 4, 1]]


def test_the_name_of_a_control_piece_in_a_caption_is_text(tmp_path):
    # "<", "/" and ">" are unknown, "s" is not; the end token comes at the end alone.
    assert t5_folder(tmp_path, BASE).encode(["a</s>"], 9) == [[6, 2, 9, 2, 1]]


def test_a_piece_of_the_user_s_own_is_never_cut(tmp_path):
    own = BASE + [("ba", 0.0, USER_DEFINED)]
    assert t5_folder(tmp_path, own).encode(["aba"], 9) == [[6, 10, 1]]


def test_long_texts_are_cut_and_keep_their_end(tmp_path):
    tokenizer = t5_folder(tmp_path, BASE)
    assert tokenizer.encode(["a a a a a a"], 4) == [[6, 6, 6, 1]]
    assert tokenizer.encode(["a"], 1) == [[1]]
    with pytest.raises(UserError, match="at least 1"):
        tokenizer.encode(["a"], 0)


def test_a_model_of_byte_pairs_merges_the_best_pair_first(tmp_path):
    # "▁a" is the best pair of "▁ab", then the two are "▁ab", whatever that scores.
    assert t5_folder(tmp_path, BASE, number(3, 2)).encode(["ab"], 9) == [[8, 1]]


def test_a_model_that_is_cut_short_or_has_no_end_is_refused(tmp_path):
    path = tmp_path / "spiece.model"
    whole = spiece(BASE)
    # Inside a field's content, inside its length, and after none at all.
    for content in (whole[:40], whole[:1], b"", b"not a model"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="spiece.model"):
            open_tokenizer(tmp_path, "t5")
    path.write_bytes(spiece([piece for piece in BASE if piece[0] != "</s>"]))
    with pytest.raises(UserError, match="no token '</s>'"):
        open_tokenizer(tmp_path, "t5")
    with pytest.raises(UserError, match="cannot read"):
        _from_spiece(tmp_path / "none.model")


@given(st.text(max_size=30), st.integers(1, 40))
def test_byt5_s_ids_are_the_bytes(caption, max_length):
    ((*ids, end),) = ByteTokens().encode([caption], max_length)
    assert end == 1
    assert bytes(i - 3 for i in ids) == caption.encode()[: max_length - 1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer_config.json", {"tokenizer_class": "ByT5Tokenizer"}),
        ("config.json", {"tokenizer_class": "ByT5Tokenizer"}),
        ("config.json", {"vocab_size": 384}),
    ],
)
def test_byt5_needs_no_vocabulary(tmp_path, name, content):
    (tmp_path / name).write_text(json.dumps(content))
    assert isinstance(open_tokenizer(tmp_path, "t5"), ByteTokens)


def clip_files(folder, names=("<|startoftext|>", "<|endoftext|>")):
    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = ["c a", "ca t</w>", "d o", "o g</w>"]
    words = [*signs, *(f"{sign}</w>" for sign in signs)]
    words += [pair.replace(" ", "") for pair in merges]
    vocabulary = {word: number for number, word in enumerate([*words, *names])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    return vocabulary


def test_clip_s_byte_pairs_merge_in_their_order(tmp_path):
    v = clip_files(tmp_path)
    begin, end = v["<|startoftext|>"], v["<|endoftext|>"]
    tokenizer = open_tokenizer(tmp_path, "clip")
    assert isinstance(tokenizer, Tokenizer)
    cat = v["cat</w>"]
    dog = [v["do"], v["g</w>"]]  # "d o" comes before "o g</w>"
    two = [v["2</w>"], v["3</w>"]]  # digits stand alone
    assert tokenizer.encode(["A cat  DOG", "", "cat 23"], 77) == [
        [begin, v["a</w>"], cat, *dog, end],
        [begin, end],
        [begin, cat, *two, end],
    ]
    assert tokenizer.encode(["cat cat cat cat"], 4) == [[begin, cat, cat, end]]


def test_a_folder_without_a_tokenizer_says_what_would_do(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}.*spiece.model"):
        open_tokenizer(tmp_path, "t5")
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(UserError, match=f"{tmp_path}.*merges.txt"):
        open_tokenizer(tmp_path, "clip")
    with pytest.raises(UserError, match="no such folder"):
        open_tokenizer(tmp_path / "none", "clip")
    with pytest.raises(UserError, match="'t5' or 'clip'"):
        open_tokenizer(tmp_path, "bert")


def test_damaged_files_are_named(tmp_path):
    clip_files(tmp_path, names=("<|endoftext|>",))
    with pytest.raises(UserError, match=r"no token '<\|startoftext\|>'"):
        open_tokenizer(tmp_path, "clip")
    (tmp_path / "merges.txt").write_text("#version: 0.2\nno such\n")
    with pytest.raises(UserError, match="merges.txt"):
        open_tokenizer(tmp_path, "clip")
    for content in ("{", "[]"):
        (tmp_path / "tokenizer_config.json").write_text(content)
        with pytest.raises(UserError, match="tokenizer_config.json"):
            open_tokenizer(tmp_path, "t5")
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "tokenizer.json").write_text("{}")
    for kind in ("t5", "clip"):
        with pytest.raises(UserError, match="tokenizer.json"):
            open_tokenizer(tmp_path, kind)
