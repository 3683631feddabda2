"""Columns of the usual shape, cleaned as a whole: what a function of ``mpi.matching.normalise`` says of each value, without asking it.

Every function here tells for which values its answer holds. The others go to the function itself, one by one; nothing is decided twice:
tests hold both to the same answers.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mpi.bulk.digests import digests_of
from mpi.matching import Model
from mpi.matching.normalise import UNIT_WORDS, fold_town
from mpi.records.nhs_number import CHECK_WEIGHTS, NhsNumber

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Texts = Any
"""An array of texts, none of them null; "" where nothing was sent."""

EMPTY = pa.scalar("")


def fits(texts: Texts, shape: str) -> Flags:
    """Say which texts have a shape: a regular expression over the whole text."""
    found: Flags = pc.match_substring_regex(texts, rf"\A(?:{shape})\z").to_numpy(zero_copy_only=False)
    return found


def is_in(texts: Texts, listed: Iterable[str]) -> Flags:
    found: Flags = pc.is_in(texts, value_set=pa.array(sorted(listed), pa.string())).to_numpy(
        zero_copy_only=False
    )
    return found


def is_ascii(texts: Texts) -> Flags:
    found: Flags = pc.string_is_ascii(texts).to_numpy(zero_copy_only=False)
    return found


def longest(texts: Texts, limit: int) -> Flags:
    """Say which texts have at most so many characters."""
    found: Flags = pc.utf8_length(texts).to_numpy(zero_copy_only=False) <= limit
    return found


def filled(quick: Texts, is_plain: Flags, values: Texts, clean: Callable[[str], str]) -> Texts:
    """Put in, where a value was not plain, what the function says of it."""
    if is_plain.all():
        return quick
    odd = pa.array(~is_plain)
    return pc.replace_with_mask(
        quick, odd, pa.array([clean(text) for text in values.filter(odd).to_pylist()], pa.string())
    )


def is_shared(texts: Texts, kind: str, model: Model) -> Flags:
    """Say which values the model knows as shared by many people."""
    if not model.shared:
        return np.zeros(len(texts), np.bool_)
    known = {number.to_bytes(8, "big", signed=True) for number in model.shared}
    told = pc.binary_join_element_wise(kind, texts, ":").cast(pa.binary()).to_pylist()
    return np.fromiter([digest in known for digest in digests_of(told, 8)], np.bool_, len(told))


def _letters(texts: Texts, width: int) -> NDArray[np.uint8]:
    """Return texts of one width as a matrix of their bytes."""
    whole = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts), "")
    return np.frombuffer(whole[0].as_py().encode("ascii"), np.uint8).reshape(-1, width)


# Numbers -------------------------------------------------------------------------------------------------------

_NUMBER = "[0-9]{10}|[0-9]{3}[ -][0-9]{3}[ -][0-9]{4}"


def nhs_numbers(texts: Texts, model: Model) -> tuple[Texts, Flags]:
    """Return the digits of sound NHS numbers that may be used, and which those are."""
    digits = pc.replace_substring_regex(texts, "[ -]", "")
    shaped = fits(texts, _NUMBER)
    chosen = digits.filter(pa.array(shaped))
    matrix = _letters(chosen, 10).astype(np.int64) - ord("0")
    rest = 11 - (matrix[:, :9] * np.array(CHECK_WEIGHTS)).sum(axis=1) % 11
    good = (rest % 11 == matrix[:, 9]) & (rest != 10) & (matrix != matrix[:, :1]).any(axis=1)
    if not model.accept_reserved_numbers:
        good &= np.fromiter(
            (not NhsNumber(one).is_reserved for one in chosen.to_pylist()), np.bool_, len(chosen)
        )
    is_plain = shaped.copy()
    is_plain[shaped] = good
    return pc.if_else(pa.array(is_plain), digits, EMPTY), is_plain


# Names ---------------------------------------------------------------------------------------------------------


def plain_given(texts: Texts, model: Model) -> Flags:
    """Say which given names are one plain word that no list knows: in lower case they are the name that is compared."""
    lowered = pc.ascii_lower(texts)
    # A placeholder may be two words, the second of them sent as a middle name.
    known = {word for said in model.placeholder_given for word in (said, said.split()[0])} | set(model.titles)
    return fits(lowered, "[a-z]*") & ~is_in(lowered, known) & ~fits(lowered, "(?:unk|ukn|not).*")


def plain_family(texts: Texts, model: Model) -> Flags:
    """Say which family names are one plain word that no list knows: in lower case they are the name that is compared."""
    lowered = pc.ascii_lower(texts)
    return (
        fits(lowered, "[a-z]*")
        & ~is_in(lowered, model.placeholder_family)
        & ~fits(lowered, "(?:zzz|xxtest).*")
    )


# Contacts ------------------------------------------------------------------------------------------------------


def phones(texts: Texts, model: Model) -> tuple[Texts, Flags]:
    """Clean telephone numbers of eleven digits, with or without the country's code."""
    digits = pc.replace_substring_regex(pc.replace_substring(texts, "(0)", ""), "[^0-9]+", "")
    national = pc.replace_substring_regex(digits, r"\A(?:44([0-9]{10})|([127][0-9]{9}))\z", r"0\1\2")
    is_plain = fits(national, "0[1-9][0-9]{9}") & ~is_in(national, model.placeholder_contacts)
    chosen = national.filter(pa.array(is_plain))
    seen = np.bitwise_or.reduce(np.uint16(1) << (_letters(chosen, 11) - ord("0")).astype(np.uint16), axis=1)
    # More than two different digits: two bits taken away leave one.
    for _ in range(2):
        seen &= seen - np.uint16(1)
    is_plain[is_plain] = (seen > 0) & ~is_shared(chosen, "phone", model)
    return national, is_plain


def emails(texts: Texts, model: Model) -> tuple[Texts, Flags]:
    """Clean addresses of letters, digits and marks around one @."""
    lowered = pc.ascii_lower(texts)
    is_plain = fits(lowered, r"[!-?A-~]+@[!-?A-~]*\.[!-?A-~]*")
    names = pc.replace_substring_regex(lowered, "@.*", "")
    is_plain &= ~is_in(names, model.placeholder_contacts)
    is_plain[is_plain] = ~is_shared(lowered.filter(pa.array(is_plain)), "email", model)
    return lowered, is_plain


_ONE_LETTER = "|".join(f"{letter}*" for letter in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def identifiers(systems: Texts, values: Texts) -> tuple[Texts, Flags]:
    """Join systems and values, of printable ASCII only."""
    plain = pc.replace_substring_regex(pc.ascii_upper(values), "[^0-9A-Z]+", "")
    lowered = pc.ascii_lower(systems)
    is_plain = fits(values, "[ -~]+") & fits(systems, "[ -~]+") & ~fits(plain, _ONE_LETTER)
    return pc.binary_join_element_wise(lowered, plain, "|"), is_plain


# Addresses -----------------------------------------------------------------------------------------------------


def address_words(
    texts: Texts, towns: Sequence[str], town: NDArray[Any], model: Model
) -> tuple[Texts, Texts, Flags]:
    """Return the numbers of addresses, their other words, each in order, and for which addresses that holds.

    Args:
        town: of each address the place of its town in ``towns``, as sent.
    """
    is_plain = fits(texts, "[ -~\n]*")
    folded = pc.ascii_trim(
        pc.replace_substring_regex(
            pc.replace_substring_regex(
                pc.ascii_lower(pc.if_else(pa.array(is_plain), texts, EMPTY)), "['`]", ""
            ),
            "[^0-9a-z]+",
            " ",
        ),
        " ",
    )
    for phrase in model.placeholder_addresses:
        folded = pc.if_else(pc.match_substring(folded, phrase), EMPTY, folded)
    split = pc.split_pattern(folded, " ")
    encoded = split.flatten().dictionary_encode()
    tokens: list[str] = encoded.dictionary.to_pylist()
    said = [model.street_words.get(token, token) for token in tokens]
    ordered = sorted({*tokens, *said})
    rank_of = {word: rank for rank, word in enumerate(ordered)}
    is_number = np.fromiter((token[:1].isdigit() for token in tokens), np.bool_, len(tokens))
    is_word = np.fromiter(
        (token != "" and not token[0].isdigit() and token not in UNIT_WORDS for token in tokens),
        np.bool_,
        len(tokens),
    )
    rank = np.fromiter((rank_of[word] for word in said), np.int64, len(tokens))
    own_rank = np.fromiter((rank_of[word] for word in tokens), np.int64, len(tokens))
    town_rank = np.array([rank_of.get(fold_town(name), -1) for name in towns], np.int64)
    place = encoded.indices.to_numpy(zero_copy_only=False)
    row = np.repeat(np.arange(len(texts)), pc.list_value_length(split).to_numpy(zero_copy_only=False))
    words = pa.array(ordered, pa.string())
    chosen = is_number[place]
    numbers = _sorted_words(row[chosen], own_rank[place[chosen]], words, len(texts))
    chosen = is_word[place]
    chosen &= own_rank[place] != town_rank[town][row]
    return numbers, _sorted_words(row[chosen], rank[place[chosen]], words, len(texts)), is_plain


def _sorted_words(row: Ints, rank: Ints, words: Texts, size: int) -> Texts:
    """Join each row's distinct words in their order."""
    code = row * len(words) + rank
    code.sort()
    is_first = np.ones(len(code), np.bool_)
    np.not_equal(code[1:], code[:-1], out=is_first[1:])
    row, rank = np.divmod(code[is_first], max(1, len(words)))
    offsets = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=size)))).astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), words.take(pa.array(rank))), " ")
