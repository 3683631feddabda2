"""What the conditions of levels and keys may ask of two texts; each has one meaning in Python and in SQL."""

import jellyfish


def similarity(a: str, b: str) -> float:
    """Jaro-Winkler, rounded so that every engine puts a pair on the same level; the same whichever stands first.

    Jaro matches letters greedily from its first argument, so that a few pairs differ with the order: the lesser text goes first.
    """
    if b < a:
        a, b = b, a
    return round(jellyfish.jaro_winkler_similarity(a, b), 6)


def one_edit(a: str, b: str) -> bool:
    """Whether one letter was changed, left out or added, or two neighbours changed places."""
    return -2 < len(a) - len(b) < 2 and jellyfish.damerau_levenshtein_distance(a, b) == 1


def sound(name: str) -> str:
    """Soundex; of a name without letters its first two characters."""
    return jellyfish.soundex(name) or name[:2]


def digits(date: tuple[int, int, int]) -> str:
    """Write a date as eight digits."""
    year, month, day = date
    return f"{year:04}{month:02}{day:02}"


def count_words(text: str) -> int:
    return len(set(text.split()))


def count_common(a: str, b: str) -> int:
    """Count the words that both texts have."""
    return len(set(a.split()) & set(b.split()))


KINDS_OF_STREET = (
    "avenue", "boulevard", "building", "buildings", "circuit", "close", "court", "crescent", "drive", "east", "estate", "garden", "gardens",
    "great", "green", "grove", "heights", "hill", "house", "lane", "lower", "mews", "mount", "north", "parade", "park", "place", "road",
    "saint", "south", "square", "street", "terrace", "upper", "walk", "west",
)  # fmt: skip
"""Words of an address that half a town's addresses have."""

LETTERS_OF_A_WORD = 4


def telling_words(text: str) -> list[str]:
    """Return the words of an address that tell one street from another: of four letters or more, and no kind of street."""
    return [word for word in text.split() if len(word) >= LETTERS_OF_A_WORD and word not in KINDS_OF_STREET]


def outward_of(postcode: str) -> str:
    """Return the district: the outward part of a UK postcode, all but two characters of another country's."""
    if len(postcode) >= 5 and postcode[-3].isdigit() and postcode[-2:].isalpha():
        return postcode[:-3]
    return postcode[: max(2, len(postcode) - 2)]


def system_of(identifier: str) -> str:
    return identifier.partition("|")[0]


def value_of(identifier: str) -> str:
    return identifier.partition("|")[2]
