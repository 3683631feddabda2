"""Folding: which of a person's directives still say no to one cell, read in order of time and per identity as given."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from consent.facts.directives import EVERYTHING, Directive, Scope


@dataclass(slots=True)
class Reach:
    """Which of some scopes reach a cell: as bits, in their order."""

    everywhere: int = 0
    categories: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)

    def of(self, category: str, lineage: Collection[str]) -> int:
        """Return those that reach a category of a source with this lineage, under any label."""
        reached = self.everywhere | self.categories.get(category, 0)
        for code, bits in self.sources.items():
            if code in lineage:
                reached |= bits
        return reached


def reach(scopes: Iterable[Scope], consumer: Collection[str], purposes: Collection[str]) -> Reach:
    """Read how far scopes reach in a request of an organisation with this lineage, for what answers to these purposes.

    An organisation is reached on either side, as the one that asks or as the one whose item it is, together with its parents and
    successors: whoever objects to an organisation need not say which way they meant it.
    """
    found, bit = Reach(), 1
    for scope in scopes:
        code = scope.code
        match scope.kind:
            case "category":
                found.categories[code] = found.categories.get(code, 0) | bit
            case "organisation" if code not in consumer:
                found.sources[code] = found.sources.get(code, 0) | bit
            case "purpose" if code not in purposes:
                pass
            case _:
                # An unknown scope is a no to everything if it objects; `lifts` never lets an unknown scope permit.
                found.everywhere |= bit
        bit <<= 1
    return found


def reach_of_sources(scopes: Iterable[Scope]) -> Reach:
    """As ``reach``, of what sources say: a source speaks for its own items only, so its scope is read on the providing side alone.

    Which of them reach a cell is not told apart: one bit says that any does.
    """
    found = Reach()
    for scope in scopes:
        table = {"organisation": found.sources, "category": found.categories}.get(scope.kind)
        if table is None:
            found.everywhere = 1
        else:
            table[scope.code] = 1
    return found


def standing_objections(directives: Sequence[Directive], reached: int) -> tuple[Directive, ...]:
    """Return the objections that reach a cell and that nothing later lifts.

    ``directives`` are those in force at the time of the case; ``reached`` says which of them reach the cell.
    """
    in_scope = [directive for place, directive in enumerate(directives) if reached >> place & 1]
    permissions = [d for d in in_scope if d.kind == "permission"]
    return tuple(
        objection
        for objection in in_scope
        if objection.kind == "objection" and not any(lifts(p, objection) for p in permissions)
    )


def lifts(permission: Directive, objection: Directive) -> bool:
    """Whether a permission lifts an objection within the permission's own scope.

    It must be later, in effective and then in recorded time, decided, and either name the objection, or be of the same identity
    and of the same scope, or of a narrower one than an objection to everything.
    """
    if permission.standing != "upheld" or permission.scope.kind not in _KNOWN_SCOPES:
        return False
    if permission.via_task and not objection.via_task:
        return False  # an unproven second half may bring a no, and never take one away
    if (permission.effective_at, permission.recorded_at) <= (objection.effective_at, objection.recorded_at):
        return False
    if objection.directive_id in permission.lifts:
        return True
    if permission.identity != objection.identity:
        return False
    return permission.scope == objection.scope or objection.scope == EVERYTHING


_KNOWN_SCOPES: Mapping[str, None] = dict.fromkeys(("everything", "organisation", "category", "purpose"))
