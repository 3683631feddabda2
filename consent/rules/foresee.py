"""What a directive would change for somebody who might ask: the same question judged without it, with it, and in an emergency."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from consent.facts.case import CaseFile
from consent.facts.directives import Directive
from consent.facts.sensitivity import Cell
from consent.rules.evaluate import in_emergency, judge
from consent.rules.policy import Policy


@dataclass(frozen=True, slots=True)
class Share:
    """Categories that are seen of the same organisations.

    ``sources``: whose; none for all of whom the asker sees anything, today or then, but for those in ``but``. ``is_all``: these are all
    categories that the asker sees at all.
    """

    categories: tuple[str, ...]
    sources: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    is_all: bool = False


@dataclass(frozen=True, slots=True)
class Sight:
    """What one asker sees: what they no longer would, what they would that they do not, what stays, and what an emergency opens.

    ``opened`` is what they would see by breaking the glass, of what they would not see without.
    """

    lost: tuple[Share, ...]
    gained: tuple[Share, ...]
    kept: tuple[Share, ...]
    opened: tuple[Share, ...]

    @property
    def is_changed(self) -> bool:
        return bool(self.lost or self.gained)


def foresee(case: CaseFile, directives: Collection[Directive], policy: Policy) -> Sight:
    """Judge a case as it is, and as it would be with these directives instead of its own."""
    after = replace(case, directives=tuple(directives))
    cells = case.request.cells
    seen, would_see = (frozenset(judge(one, policy).permitted) for one in (case, after))
    closed = tuple(cell for cell in cells if cell not in would_see)
    opened = frozenset(judge(in_emergency(after, policy, closed), policy).permitted if closed else ())
    everything = seen | would_see | opened
    return Sight(
        lost=shares(seen - would_see, everything),
        gained=shares(would_see - seen, everything),
        kept=shares(seen & would_see, everything),
        opened=shares(opened, everything),
    )


def shares(cells: Collection[Cell], everything: Collection[Cell]) -> tuple[Share, ...]:
    """Say of some cells which categories they are of, those of the same organisations together, whatever their labels.

    Args:
        everything: all that the asker sees, today, then, or in an emergency.
    """
    all_sources = frozenset(cell.source for cell in everything)
    all_categories = frozenset(cell.category for cell in everything)
    by_category: dict[str, set[str]] = {}
    for cell in cells:
        by_category.setdefault(cell.category, set()).add(cell.source)
    by_sources: dict[frozenset[str], list[str]] = {}
    for category in sorted(by_category):
        by_sources.setdefault(frozenset(by_category[category]), []).append(category)
    found = []
    for places, categories in sorted(by_sources.items(), key=lambda item: (-len(item[0]), sorted(item[0]))):
        left_out = all_sources - places
        is_most = len(left_out) < len(places)
        found.append(
            Share(
                tuple(categories),
                () if is_most else tuple(sorted(places)),
                tuple(sorted(left_out)) if is_most else (),
                is_all=frozenset(categories) == all_categories and len(categories) > 1,
            )
        )
    return tuple(found)
