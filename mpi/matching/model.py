"""The match model: a versioned JSON document, read once and compiled into tables of exact integers."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

from foundation.errors import Unavailable
from mpi.matching.definition import FieldSpec, blocker_of, comparer_of, field_specs

DEFAULT_MODEL = Path(__file__).parent / "models" / "default.json"

Levels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Frequency:
    """How much rarer or commoner an agreeing value is than the average one, in millibits.

    A value may be listed for a decade of birth too, as ``doris|193``: names come and go, and pairs that agree on a birth date
    are of one decade.
    """

    values: Mapping[str, int] = field(repr=False)
    unlisted: int
    levels: frozenset[str]
    against: frozenset[str]

    def part(self, value: str) -> int:
        listed = self.values.get(value)
        if listed is None:
            return self.values.get(value.partition("|")[0], self.unlisted)
        return listed


@dataclass(frozen=True, slots=True)
class Thresholds:
    """In millibits. Of match weights: what goes live, even odds, and what a person should see.

    ``contradiction`` is of evidence (the weight without its starting odds): at or below it two records forbid a join.
    """

    live: int
    balanced: int
    review: int
    contradiction: int


@dataclass(frozen=True, slots=True)
class Sole:
    """When a record that joined nobody may join the only person that it can be, though its pairs alone do not link. In millibits.

    A person *can* be meant if a pair weighs at least ``rival``, and more than the best pair less ``margin``. ``allowance``, in the model's
    order of rivals, is what the absence of anyone else adds against each: it lessens what the live threshold asks for. ``answers``
    are the codes of the safety rules whose doubt is settled where nobody else can be meant; any other still stands in the way.
    """

    rival: int
    margin: int
    allowance: tuple[int, ...]
    answers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Quorum:
    """When a pair joins two groups of several records each only if their other pairs agree, on the whole. In millibits.

    A pair that weighs less than ``sure`` is asked for it: the mean weight of all pairs between the two groups, none of which counts for
    more than ``bound`` either way, must not lie below even odds.
    """

    sure: int
    bound: int


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A match model. ``priors`` and each tuple of ``parts`` follow the order of ``rivals``; all are millibits.

    A part is log2(m / u): how much the level speaks for one person and against that rival. ``comparer`` and ``blocker`` are what
    ``definition`` says of its fields and rules, compiled. ``memo`` only saves work: it holds sums that ``score`` would give again.
    """

    name: str
    revision: str
    rivals: tuple[str, ...]
    priors: tuple[int, ...]
    fields: tuple[str, ...]
    specs: tuple[FieldSpec, ...]
    comparer: Callable[..., Any] = field(repr=False)
    blocker: Callable[..., Any] = field(repr=False)
    parts: Mapping[str, Mapping[str, tuple[int, ...]]] = field(repr=False)
    frequency: Mapping[str, Frequency] = field(repr=False)
    thresholds: Thresholds
    sole: Sole | None
    quorum: Quorum | None
    rules: tuple[str, ...]
    caps: Mapping[str, int]
    overfull: frozenset[int] = field(repr=False)
    shared: frozenset[int] = field(repr=False)
    nicknames: Mapping[str, tuple[str, ...]] = field(repr=False)
    titles: frozenset[str] = field(repr=False)
    particles: frozenset[str] = field(repr=False)
    suffixes: frozenset[str] = field(repr=False)
    street_words: Mapping[str, str] = field(repr=False)
    placeholder_given: frozenset[str] = field(repr=False)
    placeholder_family: frozenset[str] = field(repr=False)
    placeholder_dates: frozenset[tuple[int, int, int]] = field(repr=False)
    placeholder_addresses: tuple[str, ...] = field(repr=False)
    placeholder_contacts: frozenset[str] = field(repr=False)
    placeholder_practices: frozenset[str] = field(repr=False)
    accept_reserved_numbers: bool
    group_limit: int
    document: Mapping[str, Any] = field(repr=False)
    is_lenient: bool = False
    """Whether it links at even odds, which is for figures alone: two verified numbers are evidence then, and forbid what they outweigh."""
    memo: dict[Levels, Any] = field(default_factory=dict, repr=False)

    def ties(self, weight: int, may_link: bool) -> bool:
        """Whether a pair puts two records into one component: the partition of either hangs on the other."""
        least, least_linked = self.tie_weights
        return weight >= least or (may_link and weight >= least_linked)

    @property
    def tie_weights(self) -> tuple[float, int]:
        """The weights from which on any pair ``ties``, and one that may link."""
        return (self.sole.rival if self.sole is not None else math.inf), self.thresholds.live


OVER_CAP = 4
"""A key that the model does not list may be held by this many times its rule's cap of records; one beyond is overfull."""


def fingerprint(text: str) -> int:
    """Return a signed 64-bit key of a text: the first 8 bytes of its blake2b."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def revision_of(document: Mapping[str, Any]) -> str:
    """Name a model by its content: the start of the SHA-256 of its canonical JSON."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(canonical.encode()).hexdigest()[:16]


@cache
def load_model(path: Path | str | None = None) -> Model:
    """Read a model file; without a path, the shipped one.

    Raises:
        Unavailable: ``match-model-unreadable``. Records are then kept and linking waits.
    """
    try:
        return build_model(json.loads(Path(path or DEFAULT_MODEL).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise Unavailable("match-model-unreadable") from fault


def build_model(document: Mapping[str, Any]) -> Model:
    """Compile a model document.

    Raises:
        KeyError, TypeError, ValueError: it is not a model of this format.
    """
    if document["format"] != 1:
        raise ValueError("unknown format of match model")
    specs = field_specs(document)
    rules = tuple(sorted(document["blocking"]))
    rivals = tuple(sorted(document["rivals"]))  # a tie of two rivals must not hang on the order in a file
    lists = document["lists"]
    names = {rival: place for place, rival in enumerate(rivals)}
    return Model(
        name=document["name"],
        revision=revision_of(document),
        rivals=rivals,
        priors=tuple(int(document["rivals"][rival]["prior"]) for rival in rivals),
        fields=tuple(name for name, _, _ in specs),
        specs=specs,
        comparer=comparer_of(specs),
        blocker=blocker_of(rules),
        parts={
            name: {
                level: tuple(int(logs["person"]) - int(logs[rival]) for rival in names)
                for level, logs in levels.items()
            }
            for name, levels in document["fields"].items()
        },
        frequency={
            name: Frequency(
                values={value: int(part) for value, part in table["values"].items()},
                unlisted=int(table["unlisted"]),
                levels=frozenset(table["levels"]),
                against=frozenset(table["against"]),
            )
            for name, table in document["frequency"].items()
        },
        thresholds=Thresholds(**{name: int(value) for name, value in document["thresholds"].items()}),
        sole=_sole(document, rivals),
        quorum=_quorum(document),
        rules=rules,
        caps={rule: int(settings["cap"]) for rule, settings in document["blocking"].items()},
        overfull=frozenset(int(key) for key in document["overfull"]),
        shared=frozenset(int(key) for key in document["shared"]),
        nicknames={short: tuple(full) for short, full in lists["nicknames"].items()},
        titles=frozenset(lists["titles"]),
        particles=frozenset(lists["particles"]),
        suffixes=frozenset(lists["suffixes"]),
        street_words=dict(lists["street_words"]),
        placeholder_given=frozenset(lists["placeholder_given"]),
        placeholder_family=frozenset(lists["placeholder_family"]),
        placeholder_dates=frozenset((date[0], date[1], date[2]) for date in lists["placeholder_dates"]),
        placeholder_addresses=tuple(lists["placeholder_addresses"]),
        placeholder_contacts=frozenset(lists["placeholder_contacts"]),
        placeholder_practices=frozenset(lists["placeholder_practices"]),
        accept_reserved_numbers=bool(document["accept_reserved_numbers"]),
        group_limit=int(document["group_limit"]),
        document=document,
    )


def _sole(document: Mapping[str, Any], rivals: tuple[str, ...]) -> Sole | None:
    """Read what a model says of the only candidate; without it, pairs alone link.

    Raises:
        ValueError: it looks at pairs below the review threshold, which are not kept, or at a rival that the model does not know.
    """
    told = document.get("sole")
    if told is None:
        return None
    if int(told["rival"]) < int(document["thresholds"]["review"]) or int(told["margin"]) <= 0:
        raise ValueError("a rival below the review threshold, or no margin")
    if set(told["allowance"]) != set(rivals):
        raise ValueError("allowances are those of the model's rivals")
    allowance = tuple(int(told["allowance"][rival]) for rival in rivals)
    return Sole(int(told["rival"]), int(told["margin"]), allowance, frozenset(told["answers"]))


def _quorum(document: Mapping[str, Any]) -> Quorum | None:
    """Read from which weight on a pair needs no agreement of others; without it, none does.

    Raises:
        ValueError: a bound that lets nothing count.
    """
    told = document.get("quorum")
    if told is None:
        return None
    if int(told["bound"]) <= 0:
        raise ValueError("a bound of nothing")
    return Quorum(int(told["sure"]), int(told["bound"]))
