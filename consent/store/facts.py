"""What is on record that a decision may depend on, all of it read by one statement."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from consent.facts import Agreement, Directive, EmergencyGrant, OptOutAnswer, OptOutState, Relationship, Scope
from consent.store.agreements import KnownAgreements
from consent.store.organisations import COLUMNS, LINEAGES, Organisations, lineage, organisations_from
from consent.store.policies import IN_FORCE
from foundation.direct import Statement, listed_texts, told_instant, told_rows


@dataclass(frozen=True, slots=True)
class OnRecord:
    """The facts about one person and one caller, whether or not they are in force."""

    organisations: Organisations
    directives: tuple[Directive, ...]
    far_directives: tuple[Directive, ...]
    agreements: tuple[Agreement, ...]
    relationships: tuple[Relationship, ...] = field(repr=False)
    opt_out: tuple[OptOutAnswer, ...]
    policy_revision: str | None  # in force; None where nothing was ever published
    emergency: EmergencyGrant | None = field(repr=False)


_DIRECTIVES = (
    "(SELECT {rows_of}({row}(d.directive_id, d.kind, d.scope_kind, d.scope_code, d.identity_id, d.effective_at, d.recorded_at, "
    "d.standing, d.may_override, d.lifts, d.ends_at, (SELECT {rows_of}({row}(e.event_id, e.kind, e.at)) FROM directive_event e "
    "WHERE e.directive_id = d.directive_id))) FROM directive d WHERE d.directive_id {one_of}"
    "SELECT a.directive_id FROM directive_anchor a WHERE a.record_id {among}{end_one_of}), "
)
_FACTS = Statement.alike(
    f"WITH RECURSIVE {LINEAGES}, {lineage('consumer', 'SELECT CAST({given} AS text)')} SELECT "  # noqa: S608
    f"(SELECT {{rows_of}}({{row}}({COLUMNS})) FROM organisation o WHERE o.ods_code {{one_of}}SELECT code FROM near{{end_one_of}}), "
    + _DIRECTIVES
    * 2
    + "(SELECT {rows_of}({row}(a.agreement_id, a.version, a.recorded_at)) FROM agreement a WHERE a.is_current "
    "AND a.agreement_id {one_of}SELECT c.agreement_id FROM agreement_consumer c "
    "WHERE c.organisation {one_of}SELECT code FROM consumer UNION ALL SELECT '*'{end_one_of}{end_one_of}), "
    "(SELECT {rows_of}({row}(r.relationship_id, r.kind, r.organisation, r.started_at, r.ends_at, r.user_id, r.incident_id)) "
    "FROM relationship r WHERE r.record_id {among} AND r.organisation {one_of}SELECT code FROM consumer{end_one_of}), "
    "(SELECT {rows_of}({row}(e.record_id, e.state, e.checked_at, e.number_key)) FROM opt_out_evidence e "
    "WHERE e.record_id {among}), "
    "(SELECT {row}(g.grant_id, g.user_id, g.organisation, g.reason_code, g.opened_at, g.expires_at, g.renewals) "
    "FROM emergency_grant g WHERE g.record_id {among} AND g.user_id = {given} AND g.organisation = {given} "
    "ORDER BY g.opened_at DESC, g.grant_id DESC LIMIT 1), " + IN_FORCE
)


def read_facts(
    tx: Connection,
    known: KnownAgreements,
    *,
    person_id: int,
    record_ids: Collection[int],
    far_ids: Collection[int],
    sources: Collection[str],
    organisation: str,
    user_id: str,
) -> OnRecord:
    """Read the facts about the person that these records make up, and about a caller.

    Args:
        far_ids: records of others, whose directives are told apart.
        sources: organisations that are asked about, beside the caller's own.
    """
    codes = sorted({organisation, *sources})
    told = _FACTS.rows(
        tx,
        listed_texts(tx, codes),
        organisation,
        record_ids,
        far_ids,
        record_ids,
        record_ids,
        record_ids,
        user_id,
        organisation,
    )[0]
    return OnRecord(
        organisations=organisations_from(told_rows(told[0]), codes),
        directives=_directives(told_rows(told[1])),
        far_directives=_directives(told_rows(told[2])),
        agreements=known.of(tx, [(row[0], row[1], row[2]) for row in told_rows(told[3])]),
        relationships=tuple(map(_relationship, sorted(told_rows(told[4])))),
        opt_out=tuple(map(_opt_out, told_rows(told[5]))),
        policy_revision=told[7],
        emergency=_grant(told_rows(told[6]), person_id),
    )


def _directives(rows: list[Any]) -> tuple[Directive, ...]:
    """Make the directives, in order of recording; what became of each is folded from its events."""
    found = []
    for row in rows:
        standing, withdrawn_at = row[7], None
        for _, kind, at in sorted(told_rows(row[11])):
            if kind != "withdrawn":
                standing = kind
            elif withdrawn_at is None:
                withdrawn_at = told_instant(at)
        found.append(
            Directive(
                directive_id=row[0],
                kind=row[1],
                scope=Scope(row[2], row[3]),
                identity=row[4],
                effective_at=told_instant(row[5]),
                recorded_at=told_instant(row[6]),
                standing=standing,
                may_override=bool(row[8]),
                lifts=frozenset(json.loads(row[9])),
                ends_at=told_instant(row[10]) if row[10] else None,
                withdrawn_at=withdrawn_at,
            )
        )
    return tuple(sorted(found, key=lambda one: (one.recorded_at, one.directive_id)))


def _relationship(row: list[Any]) -> Relationship:
    return Relationship(
        relationship_id=row[0],
        kind=row[1],
        organisation=row[2],
        started_at=told_instant(row[3]),
        ends_at=told_instant(row[4]) if row[4] else None,
        user_id=row[5],
        incident_id=row[6],
    )


def _opt_out(row: list[Any]) -> OptOutAnswer:
    return OptOutAnswer(row[0], OptOutState(row[1]), told_instant(row[2]), row[3])


def _grant(row: list[Any], person_id: int) -> EmergencyGrant | None:
    if not row:
        return None
    return EmergencyGrant(
        grant_id=row[0],
        person_id=person_id,
        user_id=row[1],
        organisation=row[2],
        reason_code=row[3],
        opened_at=told_instant(row[4]),
        expires_at=told_instant(row[5]),
        renewals=row[6],
    )
