"""Step 5: what may be done with a scored pair: its grade, and whether it may be linked without a person."""

from dataclasses import dataclass
from enum import Enum

from mpi.matching.compare import MISSING, Comparison
from mpi.matching.definition import FIELDS
from mpi.matching.model import Model
from mpi.matching.normalise import NormalisedRecord
from mpi.matching.score import Score, weights


class Grade(Enum):
    """FHIR's match grades."""

    CERTAIN = "certain"
    PROBABLE = "probable"
    POSSIBLE = "possible"
    CERTAINLY_NOT = "certainly-not"


@dataclass(frozen=True, slots=True)
class Grading:
    """A grade; whether the pair may be linked unseen; and the safety rules that stood in the way, as codes."""

    grade: Grade
    may_link: bool
    obstacles: tuple[str, ...] = ()


SAME_NUMBER_CONFLICT = "number-shared"
NUMBERS_CONFLICT = "numbers-differ"

_SAME_GIVEN = frozenset(("exact", "nickname", "reordered", "middle", "swapped", "typo", "close"))
_SAME_FAMILY = frozenset(("exact", "previous", "half", "swapped", "close"))
_SAME_BIRTH = frozenset(("exact", "january", "swapped", "close", "partial"))
_SAME_MIDDLE = frozenset(("exact", "close"))
_SAME_PLACE = frozenset(("same", "postcode", "street"))


def decide(score: Score, comparison: Comparison, model: Model, search_complete: bool = True) -> Grading:
    """Grade a pair.

    ``certain`` needs the live threshold, no obstacle, and a search that was not cut short. An obstacle leaves at most
    ``probable``: a person decides.
    """
    limits = model.thresholds
    obstacles = tuple(safety_obstacles(comparison))
    may_link = score.weight >= limits.live and not obstacles and search_complete
    if may_link:
        return Grading(Grade.CERTAIN, True, obstacles)
    if score.weight >= limits.balanced:
        return Grading(Grade.PROBABLE, False, obstacles)
    if score.weight >= limits.review:
        return Grading(Grade.POSSIBLE, False, obstacles)
    return Grading(Grade.CERTAINLY_NOT, False, obstacles)


def safety_obstacles(comparison: Comparison) -> list[str]:
    """Return the codes of the safety rules that forbid to link this pair unseen, whatever its weight."""
    level = dict.fromkeys(FIELDS, MISSING) | dict(zip(comparison.fields, comparison.levels, strict=True))
    number, given = level["nhs_number"], level["given"]
    same_given = given in _SAME_GIVEN
    same_birth = level["birth_date"] in _SAME_BIRTH
    same_number = number in ("verified", "claimed")
    found = []
    if number in ("differ", "differ-verified"):
        found.append("numbers-differ")
    others = _others(level)
    half_agreeing = (given == "initial") + (number == "verified" and level["gender"] == "agree")
    if same_number and not same_given and others + half_agreeing < 2:
        # A number and a birth date can be copied together from the wrong patient. A fitting initial is no given name, but an
        # item; gender counts only beside a number that both sides verified.
        found.append("number-and-birth-date-alone")
    at_home = same_birth and (level["family"] in _SAME_FAMILY or level["address"] in _SAME_PLACE)
    has_own_number = same_number or level["identifier"] == "agree"
    if (
        # Twins are given each other's names as further ones, and names alike.
        (given == "differ" or given in ("loose", "middle") and not same_number)
        and at_home
        and level["identifier"] != "agree"
    ):
        found.append("given-names-differ")
    if (
        # Names written in each other's place: twins then share what stands as their given name, and their surnames differ.
        given in ("exact", "nickname", "reordered", "typo", "close")
        and level["family"] in ("differ", "changed", "loose")
        and same_birth
        and level["address"] in _SAME_PLACE
        and not has_own_number
    ):
        found.append("family-names-differ")
    if level["birth_date"] == MISSING and not has_own_number:
        # A father and a son of one name and home: a record without a birth date may be either's, and would make one person of both.
        found.append("birth-date-missing")
    if level["middle"] == "differ" and at_home and not has_own_number:
        # Where everyone's first name is Mohammed, twins are told apart by the next one.
        found.append("middle-names-differ")
    if not same_number and others - (level["middle"] in _SAME_MIDDLE) < 1:
        # Given names and a birth date are shared by chance in a large index, however rare the name is in the tables.
        found.append("family-name-and-place-differ")
    if level["birth_order"] == "differ":
        found.append("birth-orders-differ")
    if comparison.is_later_birth and not same_given:
        found.append("birth-order-without-name")
    if comparison.is_placeholder and number != "verified" and not _is_vouched(comparison, level, others):
        found.append("placeholder-name")
    return found


def may_join_alone(comparison: Comparison, model: Model) -> bool:
    """Whether this pair may join a record to a person if nobody else can be meant: the partition sees whether that is so.

    Two things hold a pair back: odds that are not good enough against some rival, and a safety rule. Both ask for the same: might it be
    someone else? Where that someone left no trace, each rival counts for less, by the model's allowance, and so do the
    rules that the model lists. What they do not answer (a number and a birth date alone, orders of birth) no absence mends.
    """
    sole = model.sole
    if sole is None or not sole.answers.issuperset(safety_obstacles(comparison)):
        return False
    against = weights(comparison, model)
    least = min(weight + more for weight, more in zip(against, sole.allowance, strict=True))
    return least >= model.thresholds.live


def shares_number(comparison: Comparison) -> bool:
    return comparison.level("nhs_number") in ("verified", "claimed")


def conflict_of(comparison: Comparison, grading: Grading, scored: Score, model: Model) -> str | None:
    """Name what a reviewer of numbers should see: one number with contradicting demographics, or two numbers on look-alikes.

    Two *verified* numbers on look-alikes are left out: twins, adoption, gender recognition. They are nobody's ordinary task.
    """
    if grading.may_link:
        return None
    is_weak = scored.weight < model.thresholds.review
    if shares_number(comparison) and (is_weak or grading.obstacles):
        return SAME_NUMBER_CONFLICT
    if comparison.level("nhs_number") == "differ" and not is_weak:
        return NUMBERS_CONFLICT
    return None


def _is_vouched(comparison: Comparison, level: dict[str, str], others: int) -> bool:
    """Whether an unnamed newborn's record may join the child's by a number that somebody only claims.

    By the number, the whole birth date, the sex and two further items; never a later-born twin's, whose number may be the first one's.
    """
    return (
        level["nhs_number"] == "claimed"
        and level["birth_date"] in ("exact", "january")
        and level["gender"] == "agree"
        and level["mother"] != "differ"
        and others >= 2
        and not comparison.is_later_birth
    )


def has_minimum_input(record: NormalisedRecord) -> bool:
    """Whether a search says enough to find restricted people: a full birth date, with names or with a number."""
    has_birth_date = record.birth[2] > 0
    return has_birth_date and bool(
        (record.given and (record.family or record.previous))
        or (record.number and record.number_state != "i")
    )


def _others(level: dict[str, str]) -> int:
    """Count the agreeing items that neither number, birth date nor given name explains."""
    return (
        (level["family"] in _SAME_FAMILY)
        + (level["address"] in _SAME_PLACE)
        + (level["phone"] in ("mobile", "landline"))
        + (level["email"] == "agree")
        + (level["identifier"] == "agree")
        + (level["middle"] in _SAME_MIDDLE)
        + (level["mother"] == "agree")
        + (level["death_date"] == "agree")
    )
