"""Tokenizers against transformers, and T5's on odd texts against what it stands on."""

import json
import random
import sys
import types

import pytest
import sentencepiece

pytestmark = pytest.mark.oracle

sys.modules.setdefault(
    "torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations")
)
transformers = pytest.importorskip("transformers")

from tokenizers import pre_tokenizers  # noqa: E402

from videojam_jax.convert.tokenizers import ByteTokens, open_tokenizer  # noqa: E402

WORDS = (
    "the a cat dog runs jumping over under bridge water slowly quickly red blue café naïve "
    "ball throws catches person woman man in on of and 日本 東京 пример"
).split()
# Spaces of several kinds, what NFKC changes or drops, marks that combine, emoji that join,
# repeated letters (ties), and the names of pieces.
ODD = (
    [" ", "  ", "\t", "\n", "\r\n", "\u3000", "\u00a0", "▁", "▁▁", "\u200b", "\u200d", "\ufeff"]
    + ["\x00", "\x07", "cafe\u0301", "e\u0301", "\u0323\u0307", "ﬁ", "①", "Ⅷ", "ｱｲ", "½", "…", "™"]
    + ["🙂", "👩‍👩‍👧", "👍🏽", "ё", "각", "नि", "ะำ", "Å", "ǆ", "“x”", "don't", "42", "\U0010ffff"]
    + ["soooo", "aaaaaa", "......", "!!!", "</s>", "<pad>", "<unk>", "<0x41>", "dogcat", "<x>"]
)
MODELS = {
    "as T5's": {},
    "as mT5's, with bytes": dict(vocab_size=360, byte_fallback=True),
    "as it is written": dict(normalization_rule_name="identity"),
    "all spaces": dict(remove_extra_whitespaces=False),
    "no prefix, case folded": dict(add_dummy_prefix=False, normalization_rule_name="nfkc_cf"),
    "own pieces": dict(user_defined_symbols=["<x>", "▁▁", "dogcat"]),
}


def odd_texts(count, seed, pool=(*ODD, *WORDS)):
    rng = random.Random(seed)
    return ["", *pool, *("".join(rng.choices(pool, k=rng.randint(1, 9))) for _ in range(count))]


def train(folder, **options):
    rng = random.Random(0)
    lines = [" ".join(rng.choices(WORDS, k=rng.randint(3, 15))) for _ in range(1000)]
    (folder / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        **dict(vocab_size=80, hard_vocab_limit=False, minloglevel=2) | options,
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "spiece"),
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))


@pytest.mark.parametrize("name", MODELS)
def test_ids_of_odd_texts_are_sentencepiece_s(name, tmp_path):
    theirs = train(tmp_path, **MODELS[name])
    texts = odd_texts(2000, seed=1)
    for text, ids in zip(texts, open_tokenizer(tmp_path, "t5").encode(texts, 1000), strict=True):
        assert ids == [*theirs.encode(text), 1], repr(text)


def test_a_spiece_model_gives_t5_s_ids(tmp_path):
    theirs = train(tmp_path)
    tokenizer = open_tokenizer(tmp_path, "t5")
    texts = odd_texts(50, seed=2)
    for text, ids in zip(texts, tokenizer.encode(texts, 6), strict=True):
        assert ids == [*theirs.encode(text)[:5], 1], repr(text)
    # What transformers makes of the same file, on texts as captions are.
    other = transformers.T5Tokenizer.from_pretrained(tmp_path, extra_ids=0)
    plain = odd_texts(50, seed=3, pool=[" ", "  ", ". ", *(f"{word} " for word in WORDS)])
    assert tokenizer.encode(plain, 100) == other(plain, max_length=100, truncation=True).input_ids


def test_a_tokenizer_json_of_t5_gives_transformers_ids(tmp_path):
    train(tmp_path)
    theirs = transformers.T5Tokenizer.from_pretrained(tmp_path, extra_ids=4)
    (tmp_path / "saved").mkdir()
    theirs.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved" / "spiece.model").exists()
    tokenizer = open_tokenizer(tmp_path / "saved", "t5")
    texts = odd_texts(300, seed=4)
    for length in (100, 5):
        wanted = theirs(texts, max_length=length, truncation=True).input_ids
        assert tokenizer.encode(texts, length) == wanted


def clip_files(folder):
    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = ["c a", "ca t</w>", "t h", "th e</w>", "Ã ©</w>", "d o", "do g</w>", "o o", "' s</w>"]
    words = [*signs, *(f"{sign}</w>" for sign in signs)]
    words += [pair.replace(" ", "") for pair in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")


@pytest.mark.parametrize("saved", [False, True], ids=["vocab and merges", "tokenizer.json"])
def test_clip_s_ids_are_transformers_own(saved, tmp_path):
    clip_files(tmp_path)
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    folder = tmp_path
    if saved:
        folder = tmp_path / "saved"
        theirs.save_pretrained(folder)
        assert not (folder / "merges.txt").exists()
    tokenizer = open_tokenizer(folder, "clip")
    pool = [*ODD, *WORDS, "The ", "CAT ", "<|endoftext|>", "<|startoftext|>", "it's ", "I'LL "]
    texts = odd_texts(500, seed=5, pool=pool)
    for length in (77, 6):
        wanted = theirs(texts, max_length=length, truncation=True).input_ids
        for text, ids, right in zip(texts, tokenizer.encode(texts, length), wanted, strict=True):
            assert ids == right, repr(text)


def test_byt5_s_ids_are_transformers_own(tmp_path):
    theirs = transformers.ByT5Tokenizer()
    theirs.save_pretrained(tmp_path)
    tokenizer = open_tokenizer(tmp_path, "t5")
    assert isinstance(tokenizer, ByteTokens)
    # There the names of its special tokens are those tokens; here they are bytes like others.
    texts = [
        text for text in odd_texts(200, seed=6)
        if not any(name in text for name in ("</s>", "<pad>", "<unk>"))
    ]
    for length in (200, 7):
        wanted = theirs(texts, max_length=length, truncation=True).input_ids
        assert tokenizer.encode(texts, length) == wanted
