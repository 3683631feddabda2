"""Hypothesis strategies for case files: small vocabularies, so that rules meet each other often."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import strategies as st

from consent.facts import (
    Actor,
    Agreement,
    CaseFile,
    Cell,
    Directive,
    EmergencyGrant,
    OptOutEvidence,
    OptOutState,
    Relationship,
    Request,
    Scope,
    SourceSetting,
    Subject,
    codes,
)
from tests.core.consent_builders import NOW, SOURCES

ORGANISATIONS = ["RRV", "RV5", "Y12345", "RRV01"]
CATEGORIES = ["medication", "notes", "location", "demographics", "nonsense"]
LABELS = ["N", "PSY", "SDV", "GRA", "ZZZ"]
PURPOSES = ["TREAT", "BTG", "ETREAT", "HRESCH", "FAMRQT", "LEGAL", "PATADMIN", "nonsense"]
ROLES = ["R8000", "R8001", "R1070", "R8003", "R8009", "R8012", "L0002", "L0003", None, "nonsense"]
CLASSES = ["doctor", "nurse", "paramedic", "allied", "clerical", "analyst", "proxy", "legal-officer"]

instants = st.integers(-6, 3).map(lambda hours: NOW + timedelta(hours=hours))
maybe_instants = st.one_of(st.none(), instants)


def mostly(usual, strategy):
    """The usual value nearly always, so that most cases come past the first tier and rules meet in the later ones."""
    return st.integers(0, 15).flatmap(lambda n: strategy if n == 15 else st.just(usual))


cells = st.builds(
    Cell,
    mostly("medication", st.sampled_from(CATEGORIES)) | st.sampled_from(CATEGORIES[:-1]),
    mostly("N", st.sampled_from(LABELS)) | st.sampled_from(LABELS[:-1]),
    st.sampled_from(ORGANISATIONS),
)
scopes = st.one_of(
    st.just(Scope("everything")),
    st.builds(Scope, st.just("organisation"), st.sampled_from(ORGANISATIONS)),
    st.builds(Scope, st.just("category"), st.sampled_from(CATEGORIES)),
    st.builds(Scope, st.just("purpose"), st.sampled_from([*PURPOSES, "care"])),
)
directives = st.builds(
    Directive,
    directive_id=st.integers(1, 4),
    kind=mostly("objection", st.sampled_from(sorted(codes.DIRECTIVE_KINDS)))
    | st.sampled_from(["objection", "permission"]),
    scope=mostly(Scope("everything"), st.just(Scope("nonsense"))) | scopes,
    identity=st.integers(1, 2),
    effective_at=instants,
    recorded_at=instants,
    standing=mostly("upheld", st.sampled_from(["pending", "refused", "entered-in-error"])),
    may_override=st.booleans(),
    lifts=st.frozensets(st.integers(1, 4), max_size=1),
    ends_at=mostly(None, maybe_instants),
    withdrawn_at=mostly(None, maybe_instants),
    via_task=mostly(False, st.just(True)),
)
some_organisations = mostly(
    frozenset("*"), st.frozensets(st.sampled_from(ORGANISATIONS), min_size=1, max_size=2)
)
agreements = st.builds(
    Agreement,
    agreement_id=st.integers(1, 9),
    version=st.just(1),
    providers=some_organisations,
    consumers=some_organisations,
    role_classes=mostly(frozenset(CLASSES), st.frozensets(st.sampled_from(CLASSES), min_size=1)),
    purposes=mostly(frozenset(PURPOSES), st.frozensets(st.sampled_from(PURPOSES), min_size=1)),
    categories=mostly(frozenset(CATEGORIES), st.frozensets(st.sampled_from(CATEGORIES), min_size=1)),
    legal_basis=st.sampled_from(sorted(codes.LEGAL_BASES)),
    starts_at=mostly(NOW - timedelta(days=9), instants),
    ends_at=mostly(None, maybe_instants),
)
relationships = st.builds(
    Relationship,
    relationship_id=st.integers(1, 9),
    kind=st.sampled_from(sorted(codes.RELATIONSHIP_KINDS)),
    organisation=mostly("RRV", st.sampled_from(ORGANISATIONS)),
    started_at=instants,
    ends_at=mostly(None, maybe_instants),
    user_id=mostly(None, st.sampled_from(["u1", "u2"])),
    incident_id=mostly(None, st.sampled_from(["i1", "i2"])),
)
settings_of_sources = st.builds(
    lambda excluded_label, excluded_category, has_all: {
        code: replace(s, excluded_labels=excluded_label, excluded_categories=excluded_category)
        for code, s in {**SOURCES, "RRV01": SourceSetting("RRV01", "acute")}.items()
        if has_all or code != "RV5"
    },
    mostly(frozenset(), st.just(frozenset({"PSY"}))),
    mostly(frozenset(), st.just(frozenset({"medication"}))),
    mostly(True, st.just(False)),
)
grants = st.builds(
    EmergencyGrant,
    grant_id=st.just(1),
    person_id=mostly(1, st.just(2)),
    user_id=mostly("u1", st.just("u2")),
    organisation=mostly("RRV", st.just("RV5")),
    reason_code=mostly("emergency-care", st.sampled_from(["court-order", "nonsense"])),
    opened_at=instants,
    expires_at=instants,
    renewals=mostly(0, st.integers(3, 4)),
)
case_files = st.builds(
    CaseFile,
    at=st.just(NOW),
    subject=st.builds(
        Subject,
        person_id=st.just(1),
        state=mostly("current", st.sampled_from(["gone", "unknown", "unlinked", "ambiguous", "nonsense"])),
        epoch=st.just(5),
        is_restricted=mostly(False, st.just(True)),
        is_deceased=mostly(False, st.just(True)),
        age_years=st.sampled_from([None, 9, 11, 15, 16, 40]),
        warned_sources=mostly(frozenset(), st.just(frozenset({"RRV"}))),
    ),
    actor=st.builds(
        Actor,
        user_id=st.just("u1"),
        organisation=mostly("RRV", st.sampled_from(ORGANISATIONS)),
        role=mostly("R8000", st.sampled_from(ROLES)) | st.sampled_from(ROLES[:-2]),
        assurance=mostly(2, st.integers(0, 3)),
        activities=mostly(frozenset(), st.just(frozenset({"B1611"}))),
    ),
    request=st.builds(
        Request,
        purpose=mostly("TREAT", st.sampled_from(PURPOSES)) | st.sampled_from(PURPOSES[:-1]),
        cells=st.lists(cells, min_size=1, max_size=6).map(tuple),
        action=mostly("view", st.sampled_from(["list", "export", "nonsense"])),
        identified_by=mostly("nhs-number", st.sampled_from([*sorted(codes.IDENTIFICATIONS), "nonsense"])),
        claimed_relationship=mostly(None, st.sampled_from(["team", "nonsense"])),
        reason_code=st.sampled_from([None, "patient-agreed", "nonsense"]),
        incident_id=mostly(None, st.sampled_from(["i1", "i2"])),
        min_epoch=mostly(0, st.integers(4, 6)),
    ),
    directives=st.lists(directives, max_size=4).map(tuple),
    agreements=st.lists(agreements, min_size=1, max_size=3).map(tuple) | st.just(()),
    relationships=mostly(
        (Relationship(10, "admission", "RRV", NOW - timedelta(hours=9)),),
        st.lists(relationships, max_size=3).map(tuple),
    )
    | st.lists(relationships, max_size=3).map(tuple),
    sources=settings_of_sources,
    lineages=mostly({}, st.just({"RRV01": frozenset({"RRV01", "RRV"}), "RRV": frozenset({"RRV", "OLD"})})),
    opt_out=st.one_of(
        st.none(),
        st.builds(
            OptOutEvidence,
            st.sampled_from(OptOutState),
            st.sampled_from([NOW, *(NOW - timedelta(days=days) for days in (21, 30, -1))]),
        ),
    ),
    emergency=st.one_of(st.none(), grants),
    unreadable=mostly(frozenset(), st.just(frozenset({"directives"}))),
)


# Cases in which much is permitted: what comes with a permit meets here.
_ahead = st.integers(1, 9).map(lambda hours: NOW + timedelta(hours=hours))
_open_grants = st.builds(
    EmergencyGrant,
    grant_id=st.just(1),
    person_id=st.just(1),
    user_id=st.just("u1"),
    organisation=st.just("RRV"),
    reason_code=st.sampled_from(sorted(codes.EMERGENCY_REASONS)),
    opened_at=st.integers(0, 3).map(lambda hours: NOW - timedelta(hours=hours)),
    expires_at=_ahead,
)
_ample_agreements = st.builds(
    Agreement,
    agreement_id=st.integers(1, 9),
    version=st.just(1),
    providers=some_organisations,
    consumers=st.just(frozenset("*")),
    role_classes=st.just(frozenset(CLASSES)),
    purposes=st.just(frozenset(PURPOSES)),
    categories=st.frozensets(st.sampled_from(CATEGORIES[:-1]), min_size=1),
    legal_basis=st.sampled_from(sorted(codes.LEGAL_BASES)),
    starts_at=st.just(NOW - timedelta(days=9)),
    ends_at=st.none() | _ahead,
)
_controls = st.builds(
    Directive,
    directive_id=st.integers(1, 4),
    kind=st.sampled_from(["dissent", "seal", "objection"]),
    scope=scopes,
    identity=st.just(1),
    effective_at=st.just(NOW - timedelta(hours=2)),
    recorded_at=st.just(NOW - timedelta(hours=2)),
    standing=st.just("upheld"),
    may_override=st.just(True),
)
_permissions = st.builds(
    Directive,
    directive_id=st.just(5),
    kind=st.just("permission"),
    scope=scopes,
    identity=st.just(1),
    effective_at=st.just(NOW - timedelta(hours=1)),
    recorded_at=st.just(NOW - timedelta(hours=1)),
    standing=st.sampled_from(["upheld", "pending"]),
    lifts=st.frozensets(st.integers(1, 4), max_size=1),
)
willing_cases = st.builds(
    lambda case, cells, purpose, claim, grant, agreements, relationships, controls, permissions: replace(
        case,
        subject=replace(case.subject, state="current", is_deceased=False),
        actor=replace(case.actor, organisation="RRV", role="R8000", assurance=2),
        request=replace(
            case.request,
            purpose=purpose,
            cells=tuple(cells),
            action="view",
            identified_by="nhs-number",
            claimed_relationship=claim and claim[0],
            reason_code=claim and claim[1],
            incident_id=None,
            min_epoch=0,
        ),
        directives=tuple(controls + permissions),
        agreements=tuple(agreements),
        relationships=tuple(relationships),
        sources={**SOURCES, "RRV01": SourceSetting("RRV01", "acute")},
        emergency=grant,
        unreadable=frozenset(),
    ),
    case_files,
    st.lists(cells, min_size=1, max_size=6),
    st.sampled_from(["TREAT", "BTG", "ETREAT"]),
    st.none()
    | st.tuples(
        st.sampled_from(["team", "referral", None]),
        st.sampled_from([*sorted(codes.SELF_CLAIM_REASONS), "nonsense"]),
    ),
    st.none() | _open_grants,
    st.lists(_ample_agreements, min_size=1, max_size=3),
    st.just(())
    | st.lists(
        st.builds(
            Relationship,
            relationship_id=st.integers(1, 9),
            kind=st.sampled_from(["admission", "referral", "team"]),
            organisation=st.just("RRV"),
            started_at=st.just(NOW - timedelta(hours=9)),
            ends_at=st.none() | _ahead,
        ),
        max_size=2,
    ),
    st.lists(_controls, max_size=2),
    st.lists(_permissions, max_size=1),
)
