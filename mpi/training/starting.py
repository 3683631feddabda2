"""The model before any training: field levels with first guesses of their probabilities, and the lists of words.

The lists are kept by training; the probabilities are where its estimate starts, and the weak prior that holds levels too rare
to be learned.
"""

from collections.abc import Collection
from itertools import product
from math import log2
from pathlib import Path
from typing import Any

RIVALS = ("stranger", "relative", "twin", "namesake", "neighbour")
CLASSES = ("person", *RIVALS)

# Pairs of each kind for one record in an index of a million records of 640,000 people.
PAIRS_PER_RECORD = {
    "person": 0.8,
    "stranger": 500_000.0,
    "relative": 2.0,
    "twin": 0.03,
    "namesake": 0.02,
    "neighbour": 1.0,
}

# Level: probability given that both sides say something, in the order of CLASSES. A level that only some pairs can reach (a
# partial date, a verified number, a changed surname among women) has the probability among those pairs; so columns need not
# add up to 1.
LEVELS: dict[str, dict[str, tuple[float, ...]]] = {
    "nhs_number": {
        "verified": (0.99, 1e-7, 0.0005, 0.002, 0.002, 1e-5),
        "claimed": (0.96, 5e-7, 0.002, 0.006, 0.006, 2e-5),
        "close": (0.8, 1e-5, 0.001, 0.002, 0.002, 1e-4),
        "differ": (0.03, 1.0, 0.998, 0.994, 0.994, 1.0),
        "differ-verified": (0.003, 1.0, 1.0, 0.998, 0.998, 1.0),
    },
    "given": {
        "exact": (0.87, 0.005, 0.004, 0.003, 0.95, 0.005),
        "nickname": (0.03, 0.003, 0.003, 0.003, 0.02, 0.003),
        "reordered": (0.02, 2e-4, 0.002, 2e-4, 0.005, 2e-4),
        "middle": (0.03, 0.004, 0.015, 0.004, 0.01, 0.004),
        "typo": (0.03, 0.001, 0.002, 0.006, 0.012, 0.001),
        "close": (0.015, 0.008, 0.012, 0.025, 0.008, 0.008),
        "initial": (0.5, 0.06, 0.06, 0.06, 0.5, 0.06),
        "swapped": (0.012, 2e-6, 1e-4, 1e-4, 0.01, 2e-6),
        "loose": (0.01, 0.03, 0.05, 0.06, 0.005, 0.03),
        "differ": (0.012, 0.95, 0.9, 0.87, 0.005, 0.95),
    },
    "middle": {
        "exact": (0.8, 0.03, 0.06, 0.05, 0.5, 0.03),
        "initial": (0.7, 0.07, 0.08, 0.08, 0.5, 0.07),
        "close": (0.04, 0.006, 0.01, 0.01, 0.02, 0.006),
        "differ": (0.1, 0.94, 0.9, 0.9, 0.45, 0.94),
    },
    "family": {
        "exact": (0.89, 0.0015, 0.75, 0.96, 0.97, 0.004),
        "previous": (0.3, 0.0006, 0.1, 0.3, 0.2, 0.001),
        "half": (0.015, 0.0008, 0.04, 0.012, 0.01, 0.001),
        "close": (0.035, 0.004, 0.025, 0.02, 0.02, 0.005),
        "swapped": (0.5, 0.01, 0.5, 0.5, 0.5, 0.01),
        "loose": (0.005, 0.02, 0.015, 0.004, 0.004, 0.02),
        "changed": (0.06, 0.97, 0.2, 0.03, 0.05, 0.97),
        "differ": (0.012, 0.97, 0.17, 0.015, 0.01, 0.97),
    },
    "birth_date": {
        "exact": (0.955, 4e-5, 4e-4, 0.96, 5e-4, 4e-5),
        "january": (0.6, 0.004, 0.01, 0.6, 0.01, 0.006),
        "swapped": (0.008, 1.5e-5, 5e-5, 0.01, 5e-5, 2e-5),
        "close": (0.016, 0.001, 0.003, 0.016, 0.004, 0.001),
        "part": (0.006, 0.003, 0.006, 0.006, 0.02, 0.003),
        "partial": (0.9, 0.002, 0.004, 0.9, 0.004, 0.002),
        "year": (0.006, 0.014, 0.015, 0.006, 0.005, 0.014),
        "differ": (0.008, 0.98, 0.975, 0.008, 0.97, 0.98),
    },
    "gender": {
        "agree": (0.985, 0.5, 0.5, 0.65, 0.97, 0.5),
        "differ": (0.015, 0.5, 0.5, 0.35, 0.03, 0.5),
        "implied": (1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    },
    "address": {
        "same": (0.6, 4e-6, 0.85, 0.7, 0.75, 0.45),
        "postcode": (0.07, 3e-5, 0.05, 0.07, 0.06, 0.45),
        "street": (0.01, 1e-5, 0.01, 0.01, 0.01, 0.01),
        "shared": (0.02, 2e-4, 0.01, 0.02, 0.01, 0.2),
        "district": (0.08, 0.012, 0.04, 0.08, 0.06, 0.05),
        "differ": (0.24, 0.99, 0.05, 0.15, 0.12, 0.03),
    },
    "phone": {
        "mobile": (0.6, 2e-6, 0.12, 0.35, 0.2, 5e-4),
        "landline": (0.5, 3e-6, 0.5, 0.5, 0.5, 0.02),
        "differ": (0.3, 1.0, 0.5, 0.3, 0.5, 0.98),
    },
    "email": {
        "agree": (0.7, 1e-6, 0.06, 0.25, 0.1, 5e-4),
        "differ": (0.3, 1.0, 0.94, 0.75, 0.9, 1.0),
    },
    "identifier": {
        "agree": (0.97, 1e-6, 5e-5, 2e-4, 2e-4, 1e-5),
        "close": (0.02, 1e-5, 5e-5, 1e-4, 1e-4, 2e-5),
        "differ": (1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    },
    "practice": {
        "agree": (0.75, 0.004, 0.85, 0.9, 0.85, 0.4),
        "differ": (0.25, 0.996, 0.15, 0.1, 0.15, 0.6),
    },
    "mother": {
        "agree": (0.97, 2e-6, 0.7, 0.98, 0.1, 0.001),
        "differ": (0.03, 1.0, 0.3, 0.02, 0.9, 1.0),
    },
    "birth_order": {
        "agree": (0.97, 0.95, 0.95, 0.05, 0.95, 0.95),
        "differ": (0.03, 0.05, 0.05, 0.95, 0.05, 0.05),
    },
    "death_date": {
        "agree": (0.95, 3e-4, 0.001, 0.005, 0.001, 0.001),
        "differ": (0.05, 1.0, 1.0, 1.0, 1.0, 1.0),
    },
}

# From more to less agreement. A level never weighs more than one before it: a slip in a surname must not tell a person from her
# twin better than the surname itself.
CHAINS: dict[str, tuple[tuple[str, ...], ...]] = {
    "nhs_number": (("verified", "claimed", "close", "differ", "differ-verified"),),
    "given": (
        ("exact", "nickname", "close"),
        ("exact", "typo", "close", "loose", "differ"),
        ("exact", "reordered", "middle", "differ"),
        ("exact", "initial", "differ"),
        ("exact", "swapped", "differ"),
    ),
    "middle": (("exact", "initial", "differ"), ("exact", "close", "differ")),
    "family": (
        ("exact", "previous", "changed"),
        ("exact", "half", "differ"),
        ("exact", "swapped", "differ"),
        ("exact", "close", "loose", "differ"),
        ("previous", "differ"),
        ("close", "changed"),
    ),
    "birth_date": (
        ("exact", "january", "year", "differ"),
        ("exact", "swapped", "year"),
        ("exact", "close", "part", "differ"),
        ("close", "year"),
        ("exact", "partial", "year"),
    ),
    "gender": (("agree", "differ"), ("agree", "implied")),
    "address": (
        ("same", "postcode", "district", "differ"),
        ("same", "street", "district"),
        ("same", "shared", "district"),
    ),
    "phone": (("mobile", "landline", "differ"),),
    "email": (("agree", "differ"),),
    "identifier": (("agree", "close", "differ"),),
    "practice": (("agree", "differ"),),
    "mother": (("agree", "differ"),),
    "birth_order": (("agree", "differ"),),
    "death_date": (("agree", "differ"),),
}

FREQUENCY = {
    "given": {"levels": ["exact", "nickname", "typo"], "against": ["stranger", "relative", "neighbour"]},
    "family": {"levels": ["exact", "previous", "close"], "against": ["stranger", "neighbour"]},
}

BLOCKING = {
    "number": 300,
    "given-birth-date": 300,
    "family-birth-date": 300,
    "swapped-birth-date": 300,
    "names-birth-year": 300,
    "names-birth-day": 300,
    "sound-birth-year": 300,
    "sound-given-birth-date": 300,
    "birth-date-district": 300,
    "postcode-birth-month": 60,
    "postcode-given": 60,
    "names-district": 60,
    "phone": 60,
    "email": 60,
    "identifier": 60,
    "mother": 60,
}

WIDE = {"birth-date": 300, "names-sound": 60, "postcode": 60, "house-street": 60}
"""Rules that ask for one thing alone, with their caps: a trained model has those that its index can afford."""

THRESHOLDS = {"live": 7_500, "balanced": 0, "review": -4_000, "contradiction": -14_000}

TITLES = "mr mrs ms miss mx master dr prof professor rev reverend revd fr father sister brother sir dame lord lady hon capt"

PARTICLES = (
    "van von de der den del della di da dal dos das do du la le el al bin binti bint ibn ben abu abd st saint mac mc o ap ab ter ten "
    "te ul ur af fitz"
)

SUFFIXES = "jr junior jnr snr senior sr ii iii iv esq"

STREET_WORDS = {
    "rd": "road", "st": "street", "str": "street", "ave": "avenue", "av": "avenue", "ln": "lane", "cl": "close",
    "clo": "close", "cres": "crescent", "crs": "crescent", "ct": "court", "crt": "court", "dr": "drive", "drv": "drive",
    "gdns": "gardens", "gdn": "garden", "gr": "grove", "gro": "grove", "grv": "grove", "hse": "house", "mws": "mews",
    "pk": "park", "pl": "place", "plc": "place", "sq": "square", "ter": "terrace", "terr": "terrace", "tce": "terrace",
    "wy": "way", "wlk": "walk", "bldgs": "buildings", "bldg": "building", "est": "estate", "pde": "parade", "hts": "heights",
    "cct": "circuit", "crct": "circuit", "bvd": "boulevard", "blvd": "boulevard", "mt": "mount", "nth": "north",
    "sth": "south", "upr": "upper", "lwr": "lower", "gt": "great",
}  # fmt: skip

PLACEHOLDER_GIVEN = (
    "baby", "babyboy", "babygirl", "baby boy", "baby girl", "boy baby", "girl baby", "b o", "bb", "bg", "infant", "newborn",
    "neonate", "twin", "twin1", "twin2", "triplet", "triplet1", "triplet2", "triplet3", "unborn", "foetus", "fetus", "male infant",
    "female infant", "m infant", "f infant", "unknown", "unk", "unidentified", "notknown", "not known", "nk", "n k", "nfn", "fnu",
    "no name", "noname", "none", "na", "n a", "x", "xx", "xxx", "xxxx", "test", "testpatient", "test patient", "zzztest",
    "do not", "donotuse", "duplicate", "a n", "unnamed", "not given", "not stated", "anonymous", "anon", "patient", "male", "female",
    "child", "forename", "firstname", "first name", "nil", "tbc", "tba",
)  # fmt: skip

PLACEHOLDER_FAMILY = (
    "unknown", "unk", "unidentified", "not known", "notknown", "nk", "n k", "lnu", "no name", "noname", "none", "na", "n a", "x", "xx",
    "xxx", "xxxx", "test", "testpatient", "test patient", "do not use", "donotuse", "duplicate", "other", "anonymous", "anon",
    "patient", "not stated", "not given", "surname", "lastname", "last name", "baby", "infant", "unknown male", "unknown female",
    "male", "female", "nil", "tbc", "tba",
)  # fmt: skip

PLACEHOLDER_DATES = (
    (1800, 1, 1), (1850, 1, 1), (1899, 12, 30), (1899, 12, 31), (1900, 1, 1), (1901, 1, 1), (1900, 0, 0), (1901, 0, 0),
    (1753, 1, 1), (9999, 12, 31), (2999, 12, 31), (1111, 11, 11),
)  # fmt: skip

PLACEHOLDER_ADDRESSES = (
    "no fixed abode", "no fixed address", "not known", "unknown", "not given", "not stated", "no address", "address unknown",
    "homeless", "nfa",
)  # fmt: skip

PLACEHOLDER_CONTACTS = (
    "unknown", "none", "noemail", "no.email", "noreply", "no-reply", "test", "notknown", "not.known", "na", "n/a", "declined", "x",
    "00000000000", "07000000000", "07777777777", "01234567890", "0123456789", "07123456789", "02012345678",
)  # fmt: skip

# Source: HES and MHSDS default codes; NKGP is met in trusts.
PLACEHOLDER_PRACTICES = (
    "V81997", "V81998", "V81999", "G9999998", "G9999981", "X99998", "X99999", "NKGP", "NK", "UNKNOWN",
)  # fmt: skip

NICKNAMES = Path(__file__).parent / "nicknames.txt"


def starting_document() -> dict[str, Any]:
    """Return a model document of first guesses, ready for ``build_model`` and for training."""
    person = PAIRS_PER_RECORD["person"]
    fields = {
        name: {
            level: {kind: millibits(value) for kind, value in zip(CLASSES, row, strict=True)}
            for level, row in levels.items()
        }
        for name, levels in LEVELS.items()
    }
    keep_order(fields)
    return {
        "format": 1,
        "name": "starting values",
        "accept_reserved_numbers": True,
        "group_limit": 40,
        "thresholds": dict(THRESHOLDS),
        "rivals": {rival: {"prior": millibits(person / PAIRS_PER_RECORD[rival])} for rival in RIVALS},
        "fields": fields,
        "frequency": {name: {**table, "unlisted": 0, "values": {}} for name, table in FREQUENCY.items()},
        "blocking": {rule: {"cap": cap} for rule, cap in BLOCKING.items()},
        "overfull": [],
        "shared": [],
        "lists": {
            "nicknames": read_nicknames(),
            "titles": TITLES.split(),
            "particles": PARTICLES.split(),
            "suffixes": SUFFIXES.split(),
            "street_words": STREET_WORDS,
            "placeholder_given": list(PLACEHOLDER_GIVEN),
            "placeholder_family": list(PLACEHOLDER_FAMILY),
            "placeholder_dates": [list(date) for date in PLACEHOLDER_DATES],
            "placeholder_addresses": list(PLACEHOLDER_ADDRESSES),
            "placeholder_contacts": list(PLACEHOLDER_CONTACTS),
            "placeholder_practices": list(PLACEHOLDER_PRACTICES),
        },
        "training": {},
    }


def even_out(fields: dict[str, dict[str, dict[str, int]]], apart: Collection[tuple[str, str]]) -> None:
    """Give one weight to a lesser and a greater agreement, where the lesser would weigh more: what both together say.

    Where few pairs of one person show the greater, its share is a guess, and to hold the lesser down to it would throw away
    what was learned of many.

    Args:
        apart: fields and levels that only some pairs can reach: their shares are of other pairs and cannot be added.
    """
    for name, chains in CHAINS.items():
        levels = fields[name]
        steps = [
            (better, worse)
            for chain in chains
            for better, worse in zip(chain, chain[1:], strict=False)
            if (name, better) not in apart and (name, worse) not in apart
        ]
        for _ in range(ROUNDS_OF_EVENING):
            moved = False
            for (better, worse), rival in product(steps, RIVALS):
                weights = [levels[one]["person"] - levels[one][rival] for one in (better, worse)]
                if weights[1] <= weights[0]:
                    continue
                moved = True
                of_person, of_rival = (
                    sum(2.0 ** (levels[one][kind] / 1000) for one in (better, worse))
                    for kind in ("person", rival)
                )
                for one in (better, worse):
                    levels[one][rival] = levels[one]["person"] - millibits(of_person / of_rival)
            if not moved:
                break


ROUNDS_OF_EVENING = 20
"""Evening out one pair of levels may put another out of order; what is left after so many rounds ``keep_order`` ends."""


def keep_order(fields: dict[str, dict[str, dict[str, int]]]) -> None:
    """Raise u where a lesser agreement would weigh more than a greater one against some rival; see ``CHAINS``."""
    for name, chains in CHAINS.items():
        levels = fields[name]
        moved = True
        while moved:
            moved = False
            for chain in chains:
                for better, worse in zip(chain, chain[1:], strict=False):
                    for rival in RIVALS:
                        most = levels[better]["person"] - levels[better][rival]
                        if levels[worse]["person"] - levels[worse][rival] > most:
                            levels[worse][rival] = levels[worse]["person"] - most
                            moved = True


def millibits(ratio: float) -> int:
    """Return log2 in thousandths, rounded to an integer once, here."""
    return round(1000 * log2(ratio))


def read_nicknames(path: Path = NICKNAMES) -> dict[str, list[str]]:
    """Return every short form with the full names it may stand for, from a table of full names."""
    full_names: dict[str, set[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        full, _, shorts = line.partition("#")[0].partition(":")
        for short in shorts.split():
            if short != full.strip():
                full_names.setdefault(short, set()).add(full.strip())
    return {short: sorted(names) for short, names in sorted(full_names.items())}
