"""The word rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.bags import Encoder
from features.words import (
    LARGEST_BATCH_CHARACTERS,
    LONGEST_BATCH,
    NUMBERS,
    PADDING,
    PLACEHOLDERS,
    SYMBOLS,
    Tokenizer,
    batches_by_length,
    kind_of,
)

TOKENIZER = Tokenizer()
# Unicode's White_Space, spelled out here a second time on purpose.
WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


def words(prompt: str) -> list[str]:
    return [word for word in TOKENIZER([prompt])[0].tolist() if word != PADDING]


@pytest.mark.parametrize("space", WHITE_SPACE, ids=[f"U+{ord(space):04X}" for space in WHITE_SPACE])
def test_white_space_separates_and_is_no_word(space: str) -> None:
    assert words(f"{space}one{space}{space}two{space}") == ["one", "two"]


@pytest.mark.parametrize("run", ["straße", "Привет", "مرحبا", "שלום", "γειά", "नमस्ते", "cafe\u0301"])
def test_run_of_letters_is_one_word(run: str) -> None:
    assert words(f"{run} {run}") == [run, run]


@pytest.mark.parametrize("run", ["漢字", "かな", "カナ", "한글", "ｶﾅ", "カー"])
def test_character_of_han_kana_or_hangul_is_one_word(run: str) -> None:
    assert words(run) == list(run)


def test_digits_and_symbols_come_in_short_runs() -> None:
    assert words("1234567+=-x") == ["123", "456", "7", "+=", "-", "x"]


def test_scripts_and_digits_do_not_share_a_word() -> None:
    assert words("x1日y") == ["x", "1", "日", "y"]


@given(texts)
def test_nothing_but_white_space_is_lost(prompt: str) -> None:
    assert "".join(words(prompt)) == "".join(character for character in prompt if character not in WHITE_SPACE)


@given(texts)
def test_words_are_words_again(prompt: str) -> None:
    first = words(prompt)
    assert words(" ".join(first)) == first


@given(texts)
def test_every_word_is_one_by_the_encoder(prompt: str) -> None:
    assert Encoder().not_words(words(prompt)) == set()


@given(st.lists(texts, min_size=1, max_size=5))
def test_batch_gives_the_words_of_each_prompt(prompts: list[str]) -> None:
    rows = [[word for word in row if word != PADDING] for row in TOKENIZER(prompts).tolist()]
    assert rows == [words(prompt) for prompt in prompts]


@pytest.mark.parametrize("marker", PLACEHOLDERS.values())
def test_placeholder_is_never_a_word_of_a_prompt(marker: str) -> None:
    assert marker not in words(f"{marker} a{marker}b")


def test_numbers_and_symbols_are_single_words() -> None:
    members = sorted(NUMBERS | SYMBOLS)
    assert words(" ".join(members)) == members


@given(texts)
def test_word_has_one_kind(prompt: str) -> None:
    kinds = {word: kind_of(word) for word in words(prompt)}
    assert all((kind == "number") == (word in NUMBERS) for word, kind in kinds.items())
    assert all((kind == "symbol") == (word in SYMBOLS) for word, kind in kinds.items())


@given(st.lists(st.integers(0, 3000), max_size=600))
def test_batches_hold_every_row_once_and_are_bounded(lengths: list[int]) -> None:
    prompts = ["x" * (length * 200) for length in lengths]
    batches = batches_by_length(prompts)
    assert sorted(row for batch in batches for row in batch) == list(range(len(prompts)))
    cells = [len(batch) * max(len(prompts[row]) for row in batch) for batch in batches]
    assert all(size <= LARGEST_BATCH_CHARACTERS or len(batch) == 1 for size, batch in zip(cells, batches, strict=True))
    assert all(len(batch) <= LONGEST_BATCH for batch in batches)
