"""The order of the review queue: the harm to expect while a question waits, and who is to be asked. Values in, values out."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from mpi.matching.questions import Kind

REGIONAL_TEAM = "regional-team"
PRIVACY_OFFICER = "privacy-officer"
TEAMS = (REGIONAL_TEAM, PRIVACY_OFFICER)
"""Who is asked where no single organisation is: names of teams, which no ODS code can be."""

HORIZON = timedelta(days=30)
"""How far ahead views are expected."""

HALF_LIFE = timedelta(days=30)
"""After how long a view that was seen counts half."""

UNSEEN_MILLIVIEWS = 145
"""What to expect within the horizon of someone of whom nothing is known: 17.7 million views a year of some 10 million people."""

MOST_HARM = 1 << 30

EVEN_PER_MILLE = 500
ERROR_PER_MILLE: Mapping[str, int] = {
    Kind.SPLIT.value: 500,
    Kind.IN_DOUBT.value: 500,
    Kind.ASKED.value: 500,
    Kind.OVERLAY.value: 500,
    Kind.OUTSIZED.value: 900,
    Kind.REFUSED.value: 500,
    Kind.NUMBERS.value: 500,
    Kind.POSSIBLE.value: EVEN_PER_MILLE,
    Kind.DUPLICATE.value: 100,
}
"""How often what stands is wrong, by type, where no weight says it: assumptions. Inside a type they change no order, but they weigh
the types of one group against each other. Of a possible match it counts only where its weight may not be told."""

WORTH_MILLIVIEWS: Mapping[str, int] = {
    "viewed": 1_000,
    "admission": 8_000,
    "attendance": 3_000,
    "incident": 3_000,
    "referral": 2_000,
}
"""How many views an act of care brings with it, itself counted in: assumptions, but for a view, which is one."""


def error_per_mille(kind: str, weight_millibits: int | None, even_millibits: int) -> int:
    """Return the chance that what stands is wrong, in thousandths.

    Two persons who are asked about as a possible match stand apart, so the error is that they are one: the logistic of the weight, which
    is even at ``even_millibits``; one bit more doubles the odds. Every other type has its own.
    """
    if kind != Kind.POSSIBLE.value or weight_millibits is None:
        return ERROR_PER_MILLE[kind]
    bits = min(60.0, max(-60.0, (weight_millibits - even_millibits) / 1_000))
    return round(1_000 / (1 + 2**-bits))


def decayed(milliviews: int, since: timedelta) -> int:
    """Return what is left of a count after some time; never more than it was."""
    return round(milliviews * float(0.5 ** max(0.0, since / HALF_LIFE)))


def expected_milliviews(activity: int) -> int:
    """Return how many views of one person to expect within the horizon.

    Args:
        activity: their decayed count. Were it kept up by a steady rate of views, that rate would be count × ln 2 a half-life.
    """
    return UNSEEN_MILLIVIEWS + round(activity * 0.693_147_180_6 * (HORIZON / HALF_LIFE))


def expected_harm(error: int, milliviews: int) -> int:
    """Return wrong views to expect, in thousandths, as the power of two below: 1 at least, ``MOST_HARM`` at most.

    Powers of two, because a queue that is re-ordered at every view cannot be paged, and because the order itself tells something.
    """
    whole = error * milliviews // 1_000
    return min(MOST_HARM, 1 << max(0, whole.bit_length() - 1))


def untold_harm(kind: str) -> int:
    """Return the harm of a task that names someone whose location is protected, and of a new one until it is placed: its type's alone.

    Neither likeness nor activity is in it: the weight knows of addresses, and that someone was seen is not to be read off an order.
    """
    return expected_harm(ERROR_PER_MILLE[kind], 2 * UNSEEN_MILLIVIEWS)


def harm_of(kind: str, weight_millibits: int | None, even_millibits: int, activities: Sequence[int]) -> int:
    """Return the harm of a task.

    Args:
        activities: the decayed count of each person on its sides.
    """
    views = sum(expected_milliviews(one) for one in activities)
    return expected_harm(error_per_mille(kind, weight_millibits, even_millibits), views)


def route_of(kind: str, sides: Sequence[Collection[int]], organisations: Mapping[int, str]) -> str:
    """Return who can mend what a task asks about: whoever sent a held update; the one organisation whose records it names; else the region.

    Args:
        organisations: of each record whose it is. A record that is not there any more is nobody's.
    """
    asked = sides[:1] if kind == Kind.OVERLAY.value else sides
    found = {organisations[number] for side in asked for number in side if number in organisations}
    return found.pop() if len(found) == 1 else REGIONAL_TEAM
