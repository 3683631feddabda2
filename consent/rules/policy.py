"""The policy: versioned rows read from JSON and compiled once; a row matches named attributes against sets of codes."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from consent.facts import codes
from consent.rules.decision import Effect, Finding, Strip, Summary, Texts, Verdict
from consent.rules.document import check_document
from foundation.errors import Invalid

CASE_ATTRIBUTES: Mapping[str, frozenset[str] | None] = {
    "subject": frozenset({"current", "gone", "unknown", "unlinked", "ambiguous"}),
    "facts": frozenset({"readable", "unreadable", "behind"}),
    "request_codes": frozenset({"known", "unknown"}),
    "assurance": frozenset({"none", "password", "strong"}),
    "identified_by": codes.IDENTIFICATIONS,
    "role_class": None,  # checked against the policy's own classes
    "activity": None,  # national activity codes
    "purpose": codes.PURPOSES,
    "purpose_group": None,  # checked against the policy's own groups
    "action": codes.ACTIONS,
    "restricted": frozenset({"yes", "no"}),
    "deceased": frozenset({"yes", "no"}),
    "age_band": frozenset({"child", "review-age", "sixteen-or-over", "unknown"}),
    "relationship": codes.RELATIONSHIP_KINDS | {"ended", "none"},
    "self_claim": frozenset({"none", "claimed", "unreasoned"}),
    "opt_out": frozenset({"clear", "opted-out", "stale", "none"}),
    "emergency": frozenset({"none", "open", "expired", "unreasoned", "exhausted"}),
}
"""Attributes of the whole case, with the codes that a row may name; None where another list rules."""

CELL_ATTRIBUTES: Mapping[str, frozenset[str] | None] = {
    "cell_codes": frozenset({"known", "unknown"}),
    "category": codes.CATEGORIES,
    "label": codes.LABELS,
    "source": None,  # ODS codes
    "source_kind": codes.SOURCE_KINDS | {"unknown"},
    "source_control": frozenset({"none", "dissent", "sealed", "excluded"}),
    "bar": frozenset({"yes", "no"}),
    "directive": frozenset({"none", "objection", "objection-final"}),
    "agreement": frozenset({"in-force", "none"}),
    "legal_basis": codes.LEGAL_BASES | {"none"},
    "type_1": frozenset({"clear", "opted-out", "not-applicable"}),
    "identity": frozenset({"sure", "warned"}),
}
"""Attributes of one cell of the case."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One attribute and the codes that satisfy it: at least one of the attribute's codes must be among them."""

    attribute: str
    codes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Row:
    """A rule. It matches when every ``when`` condition holds and not every ``unless`` condition does (none: no exception)."""

    rule_id: str
    version: int
    tier: int
    effect: Effect
    reason: str
    is_overridable: bool
    is_hidden: bool
    when: int  # the conditions as bits: a row matches a set of attributes if all of these are in it …
    unless: int  # … and not all of these are (0: no exception)
    obligations: tuple[str, ...]
    alerts: tuple[str, ...]
    finding: Finding

    def matches(self, holding: int) -> bool:
        """Whether the row matches, given the conditions that hold."""
        return holding & self.when == self.when and (not self.unless or holding & self.unless != self.unless)


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier: its rows, and what stands when it needs a permit and no row spoke."""

    number: int
    name: str
    needs_permit: bool
    otherwise: Finding | None
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A compiled rule set. ``revision`` is a digest of its canonical JSON: equal revisions decide alike."""

    name: str
    version: int
    revision: str
    tiers: tuple[Tier, ...]
    conditions: tuple[Condition, ...]  # every condition that some row names; its place is its bit
    bits: Mapping[str, Mapping[str, int]]  # every attribute → code → the conditions that it makes hold
    role_classes: Mapping[str, str]
    purpose_groups: Mapping[str, str]
    purpose_covers: Mapping[str, frozenset[str]]
    reasons: Mapping[str, Texts]
    outcomes: Mapping[str, Texts]
    opt_out_days: int
    emergency_hours: int
    emergency_renewals: int
    notify_patient_days: int
    proxy_review_age: int
    proxy_end_age: int
    document: Mapping[str, Any] = field(repr=False, compare=False)
    # What the rows say where some conditions hold, kept as it is found: it follows from the rows, and holds no fact of anyone.
    verdicts: dict[int, Verdict] = field(init=False, default_factory=dict, repr=False, compare=False)
    strips: dict[object, Strip] = field(init=False, default_factory=dict, repr=False, compare=False)
    summaries: dict[object, Summary] = field(init=False, default_factory=dict, repr=False, compare=False)

    def holding(self, attribute: str, codes: Iterable[str]) -> int:
        """The conditions that hold for an attribute with these codes, as bits; an unknown code makes none hold."""
        table, held = self.bits[attribute], 0
        for code in codes:
            held |= table.get(code, 0)
        return held

    def role_class(self, role: str | None) -> str:
        return self.role_classes.get(role or "", "unknown")

    def answers_to(self, purpose: str) -> frozenset[str]:
        """The codes by which a directive may name this purpose: itself, its group, and wider purposes that cover it."""
        names = {purpose, *(wide for wide, narrow in self.purpose_covers.items() if purpose in narrow)}
        if purpose in self.purpose_groups:
            names.add(self.purpose_groups[purpose])
        return frozenset(names)


def load_policy(path: Path) -> Policy:
    """Read and compile a rule set.

    Raises:
        Invalid: ``policy-format``, naming the row and the attribute at fault.
    """
    return compile_policy(json.loads(path.read_text("utf-8")))


@cache
def default_policy() -> Policy:
    """The rule set that ships with the service."""
    return load_policy(Path(__file__).with_name("default_policy.json"))


def compile_policy(document: Mapping[str, Any]) -> Policy:
    """Turn a document into a policy; every code in it must be a known one.

    Raises:
        Invalid: ``policy-format``, naming the row and the attribute at fault.
    """
    check_document(document)
    try:
        return _compile(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Invalid("policy-format", field=str(error.args[0]) if error.args else None) from error


def _compile(document: Mapping[str, Any]) -> Policy:
    roles: Mapping[str, str] = document["role_classes"]
    groups: Mapping[str, str] = document["purpose_groups"]
    reasons = {code: Texts(**texts) for code, texts in document["reasons"].items()}
    known: dict[str, frozenset[str] | None] = {**CASE_ATTRIBUTES, **CELL_ATTRIBUTES}
    known["role_class"] = frozenset(roles.values()) | {"unknown"}
    known["purpose_group"] = frozenset(groups.values())
    places: dict[Condition, int] = {}
    rows = [_compile_row(row, known, reasons, places) for row in document["rows"] if row.get("enabled", True)]
    for row in document["rows"]:
        if not row.get("enabled", True):
            _compile_row(row, known, reasons, {})  # what is switched off is checked all the same
    tiers = tuple(_compile_tier(tier, rows, reasons) for tier in document["tiers"])
    settings = document["settings"]
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Policy(
        name=document["name"],
        version=int(document["version"]),
        revision=hashlib.sha256(canonical.encode()).hexdigest()[:16],
        tiers=tiers,
        conditions=tuple(places),
        bits=_bits(places),
        role_classes=roles,
        purpose_groups=groups,
        purpose_covers={wide: frozenset(narrow) for wide, narrow in document["purpose_covers"].items()},
        reasons=reasons,
        outcomes={code: Texts(**texts) for code, texts in document["outcomes"].items()},
        opt_out_days=int(settings["opt_out_days"]),
        emergency_hours=int(settings["emergency_hours"]),
        emergency_renewals=int(settings["emergency_renewals"]),
        notify_patient_days=int(settings["notify_patient_days"]),
        proxy_review_age=int(settings["proxy_review_age"]),
        proxy_end_age=int(settings["proxy_end_age"]),
        document=document,
    )


def _compile_tier(tier: Mapping[str, Any], rows: list[Row], reasons: Mapping[str, Texts]) -> Tier:
    otherwise = None
    if tier["needs_permit"]:
        reason = tier["otherwise"]["reason"]
        if reason not in reasons:
            raise Invalid("policy-format", field=f"tiers.{tier['tier']}.otherwise.reason")
        otherwise = Finding(
            tier=tier["tier"],
            rule_id=f"{tier['name']}-otherwise",
            version=1,
            effect=Effect.DENY,
            reason=reason,
            is_overridable=tier["otherwise"].get("overridable", False),
        )
    return Tier(
        number=tier["tier"],
        name=tier["name"],
        needs_permit=tier["needs_permit"],
        otherwise=otherwise,
        rows=tuple(row for row in rows if row.tier == tier["tier"]),
    )


def _bits(places: Mapping[Condition, int]) -> Mapping[str, Mapping[str, int]]:
    table: dict[str, dict[str, int]] = {name: {} for name in (*CASE_ATTRIBUTES, *CELL_ATTRIBUTES)}
    for condition, place in places.items():
        codes_of = table[condition.attribute]
        for code in condition.codes:
            codes_of[code] = codes_of.get(code, 0) | (1 << place)
    return table


def _compile_row(
    row: Mapping[str, Any],
    known: Mapping[str, frozenset[str] | None],
    reasons: Mapping[str, Texts],
    places: dict[Condition, int],
) -> Row:
    name, tier, effect = row["id"], int(row["tier"]), Effect(row["effect"])
    if row["reason"] not in reasons:
        raise Invalid("policy-format", field=f"{name}.reason")
    if (effect is Effect.LIFT) != (tier == 8 and effect is not Effect.DENY):
        raise Invalid("policy-format", field=f"{name}.effect")
    if row.get("overridable", False) and (effect is not Effect.DENY or tier not in (4, 6, 7)):
        raise Invalid("policy-format", field=f"{name}.overridable")
    when, unless = (
        sum(1 << places.setdefault(condition, len(places)) for condition in _conditions(row, part, known))
        for part in ("when", "unless")
    )
    finding = Finding(
        tier=tier,
        rule_id=name,
        version=int(row["version"]),
        effect=effect,
        reason=row["reason"],
        is_overridable=row.get("overridable", False),
        is_hidden=row.get("hides", False),
    )
    return Row(
        rule_id=name,
        version=finding.version,
        tier=tier,
        effect=effect,
        reason=finding.reason,
        is_overridable=finding.is_overridable,
        is_hidden=finding.is_hidden,
        when=when,
        unless=unless,
        obligations=tuple(row.get("obligations", ())),
        alerts=tuple(row.get("alerts", ())),
        finding=finding,
    )


def _conditions(
    row: Mapping[str, Any], part: str, known: Mapping[str, frozenset[str] | None]
) -> tuple[Condition, ...]:
    conditions = []
    for attribute, values in row.get(part, {}).items():
        allowed = known.get(attribute, frozenset())
        wanted = frozenset(values)
        if attribute not in known or not wanted:
            raise Invalid("policy-format", field=f"{row['id']}.{part}.{attribute}")
        if allowed is not None and not wanted <= allowed:
            raise Invalid("policy-format", field=f"{row['id']}.{part}.{attribute}")
        conditions.append(Condition(attribute, wanted))
    return tuple(conditions)
