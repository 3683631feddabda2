"""Which directives bind in one situation, and why the others do not: told by the evaluator itself, which is asked with and without each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from consent.facts.case import CaseFile
from consent.facts.directives import Directive
from consent.facts.sensitivity import Cell
from consent.rules.evaluate import matching_rows
from consent.rules.policy import Policy

BECAUSE = (
    "binds",
    "binds-through-open-question",
    "other-scope",
    "other-purpose",
    "refused",
    "pending",
    "withdrawn",
    "entered-in-error",
    "not-yet-effective",
    "ended",
    "lifted-by",
    "lifts-nothing",
    "not-on-this-person",
)
"""Why a directive binds in a situation, or does not. The one closed list."""

_BY_PURPOSE = frozenset({"type-1"})
"""Kinds that cover everything of their source, so that only the purpose can be another."""


@dataclass(frozen=True, slots=True)
class Bearing:
    """What one directive comes to in a situation.

    Args:
        because: of ``BECAUSE``. ``pending`` is a permission that nobody decided: a pending objection binds.
        lifted_by: the permissions that lift an objection, where they do so wherever it reaches.
        categories: those that were asked about in which it binds.
    """

    directive_id: int
    because: str
    lifted_by: tuple[int, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def binds(self) -> bool:
        return self.because in ("binds", "binds-through-open-question")


def bearings(case: CaseFile, policy: Policy) -> tuple[Bearing, ...]:
    """Say of each directive of a case what it comes to for the cells that are asked about.

    A directive *binds* where adding it changes which rows match a cell, with nothing of its own kind beside it: an objection beside all
    permissions in force; a permission beside some one objection, which it lifts; a source's or the law's word by itself. So with all
    that do not bind taken away no cell is ruled otherwise. An emergency may lift what binds; what would bind in one is another situation.
    """
    reader = _Reader(case, policy)
    return tuple(_bearing(one, reader) for one in case.directives)


class _Reader:
    """Asks the evaluator about a case with some of its directives, each time the same ones once."""

    def __init__(self, case: CaseFile, policy: Policy) -> None:
        self.at = case.at
        in_force = [one for one in case.directives if one.is_in_force(case.at)]
        self.objections = [one for one in in_force if one.kind == "objection"]
        self.permissions = [one for one in in_force if one.kind == "permission"]
        self._case, self._policy = case, policy
        self._known: dict[tuple[Directive, ...], Mapping[Cell, frozenset[str]]] = {}

    def changed(self, by: Directive, beside: Iterable[Directive] = ()) -> set[Cell]:
        """Return the cells of which other rows match where this directive is beside some others, than without it."""
        others = tuple(beside)
        without, with_it = self._read(others), self._read((*others, by))
        return {cell for cell, rows in with_it.items() if rows != without[cell]}

    def _read(self, directives: tuple[Directive, ...]) -> Mapping[Cell, frozenset[str]]:
        found = self._known.get(directives)
        if found is None:
            found = matching_rows(replace(self._case, directives=directives), self._policy)
            self._known[directives] = found
        return found


def _bearing(one: Directive, reader: _Reader) -> Bearing:
    why_not = one.why_not_in_force(reader.at)
    if why_not is not None:
        return Bearing(one.directive_id, why_not)
    if one.kind == "permission":
        return _of_permission(one, reader)
    beside = reader.permissions if one.kind == "objection" else ()
    if bound := reader.changed(one, beside):
        return _binding(one, bound)
    reached = reader.changed(one)
    if not reached:
        return Bearing(one.directive_id, _elsewhere(one))
    lifting = {p.directive_id for p in reader.permissions if reader.changed(one, (p,)) != reached}
    return Bearing(one.directive_id, "lifted-by", tuple(sorted(lifting)))


def _of_permission(one: Directive, reader: _Reader) -> Bearing:
    def lifted(permission: Directive) -> set[Cell]:
        return {cell for objection in reader.objections for cell in reader.changed(permission, (objection,))}

    if bound := lifted(one):
        return _binding(one, bound)
    if one.standing == "pending" and lifted(replace(one, standing="upheld")):
        return Bearing(one.directive_id, "pending")
    # Whether it reaches what is asked about is seen by what an objection in its words would do.
    if reader.changed(replace(one, kind="objection")):
        return Bearing(one.directive_id, "lifts-nothing")
    return Bearing(one.directive_id, _elsewhere(one))


def _binding(one: Directive, bound: set[Cell]) -> Bearing:
    because = "binds-through-open-question" if one.via_task else "binds"
    return Bearing(one.directive_id, because, categories=tuple(sorted({cell.category for cell in bound})))


def _elsewhere(one: Directive) -> str:
    is_purpose = one.scope.kind == "purpose" or one.kind in _BY_PURPOSE
    return "other-purpose" if is_purpose else "other-scope"
