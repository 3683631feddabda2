"""Folding: which of a person's directives still say no to one cell, read in order of time and per identity as given."""

from collections.abc import Iterable, Mapping

from consent.facts.case import CaseFile
from consent.facts.directives import EVERYTHING, Directive, Scope
from consent.facts.sensitivity import Cell


def covers(scope: Scope, cell: Cell, case: CaseFile, purposes: frozenset[str]) -> bool:
    """Whether a scope reaches this cell of this request.

    An organisation is reached on either side, as the one that asks or as the one whose item it is, together with its parents and
    successors: whoever objects to an organisation need not say which way they meant it.
    """
    match scope.kind:
        case "everything":
            return True
        case "organisation":
            return scope.code in case.lineage(case.actor.organisation) or scope.code in case.lineage(
                cell.source
            )
        case "category":
            return scope.code == cell.category
        case "purpose":
            return scope.code in purposes
    # An unknown scope is a no to everything if it objects; `lifts` never lets an unknown scope permit.
    return True


def standing_objections(
    directives: Iterable[Directive], cell: Cell, case: CaseFile, purposes: frozenset[str]
) -> tuple[Directive, ...]:
    """Return the objections in force that reach the cell and that nothing later lifts.

    ``directives`` are those already known to be in force at the time of the case.
    """
    in_scope = [d for d in directives if covers(d.scope, cell, case, purposes)]
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
