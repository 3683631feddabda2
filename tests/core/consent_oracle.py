"""The naive second evaluator, written from docs/consent/semantics.md alone; slow, plain, and sharing no code with the first."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple

from consent.facts import Cell, EmergencyGrant, codes


@dataclass(frozen=True)
class Answer:
    """What a case comes to: ``rulings`` by cell; ``obligations`` as pairs of a code and its parameters."""

    outcome: str
    rulings: dict[Cell, "Ruling"]
    obligations: frozenset[tuple[str, tuple[tuple[str, str], ...]]]
    alerts: frozenset[str]

    @property
    def permitted(self):
        return {cell for cell, ruling in self.rulings.items() if ruling.is_permitted}

    @property
    def hidden(self):
        return {cell for cell, ruling in self.rulings.items() if ruling.is_hidden}

    @property
    def findings(self):
        return {cell: ruling.findings for cell, ruling in self.rulings.items()}


class Ruling(NamedTuple):
    is_permitted: bool
    is_hidden: bool
    is_overridable: bool
    is_lifted: bool
    findings: frozenset[tuple[int, str]]
    obligations: frozenset[str]
    alerts: frozenset[str]
    ends: frozenset
    rows: frozenset[str]
    misses: frozenset[tuple[str, str]]


def oracle(case, policy, *, deeper=True):
    """Return what a case comes to under a policy document (the JSON, not the compiled form)."""
    at, who, ask, subject, limits = case.at, case.actor, case.request, case.subject, policy["settings"]
    line = lambda code: set(case.lineages.get(code, {code}))  # noqa: E731
    role = policy["role_classes"].get(who.role or "", "unknown")
    group = policy["purpose_groups"].get(ask.purpose, "unknown")
    names = {ask.purpose, group} | {
        wide for wide, narrow in policy["purpose_covers"].items() if ask.purpose in narrow
    }
    held = [d for d in case.directives if d.standing in ("upheld", "pending") and max(d.recorded_at, d.effective_at) <= at
            and not any(end and end <= at for end in (d.ends_at, d.withdrawn_at))]  # fmt: skip
    ours = [
        r
        for r in case.relationships
        if r.organisation in line(who.organisation) and r.user_id in (None, who.user_id)
    ]
    now = [r for r in ours if r.started_at <= at and not (r.ends_at and r.ends_at <= at)
           and (not r.incident_id or not ask.incident_id or r.incident_id == ask.incident_id)]  # fmt: skip
    past = any(r.ends_at and r.ends_at <= at for r in ours)

    def covers(d, cell):
        return {"everything": True, "organisation": d.scope.code in line(who.organisation) | line(cell.source),
                "category": d.scope.code == cell.category, "purpose": d.scope.code in names}.get(d.scope.kind, True)  # fmt: skip

    def lifted(o, cell):
        return any(p.kind == "permission" and p.standing == "upheld" and p.scope.kind in codes.SCOPE_KINDS
                   and (o.via_task or not p.via_task) and covers(p, cell)
                   and (p.effective_at, p.recorded_at) > (o.effective_at, o.recorded_at)
                   and (o.directive_id in p.lifts or (p.identity == o.identity and (p.scope == o.scope or o.scope.kind == "everything")))
                   for p in held)  # fmt: skip

    def emergency(g):
        if not g or (g.person_id, g.user_id, g.organisation) != (
            subject.person_id,
            who.user_id,
            who.organisation,
        ):
            return "none"
        if g.reason_code not in codes.EMERGENCY_REASONS:
            return "unreasoned"
        if g.renewals > limits["emergency_renewals"]:
            return "exhausted"
        return "open" if g.opened_at <= at < until(g) else "expired"

    def until(g):
        return min(g.expires_at, g.opened_at + timedelta(hours=limits["emergency_hours"]))

    def opt_out(e):
        if not e:
            return "none"
        fresh = timedelta() <= at - e.checked_at <= timedelta(days=limits["opt_out_days"])
        return "opted-out" if e.state == "opted-out" else "clear" if e.state == "clear" and fresh else "stale"

    def agreements(cell):
        return [a for a in case.agreements if a.starts_at <= at and not (a.ends_at and a.ends_at <= at)
                and a.consumers & ({"*"} | line(who.organisation)) and a.providers & ({"*"} | line(cell.source))
                and role in a.role_classes and ask.purpose in a.purposes and cell.category in a.categories]  # fmt: skip

    def attributes(cell):
        source, age = case.sources.get(cell.source), subject.age_years
        kind = source.kind if source else "unknown"
        left = [o for o in held if o.kind == "objection" and covers(o, cell) and not lifted(o, cell)]
        agreed = agreements(cell)
        control = {word for d in held for kind_, word in (("dissent", "dissent"), ("seal", "sealed"))
                   if d.kind == kind_ and not d.via_task and (d.scope.code in line(cell.source) if d.scope.kind == "organisation"
                                                             else d.scope.kind != "category" or d.scope.code == cell.category)}  # fmt: skip
        if source and (cell.category in source.excluded_categories or cell.label in source.excluded_labels):
            control.add("excluded")
        listed = (ask.purpose in codes.PURPOSES and ask.action in codes.ACTIONS and ask.identified_by in codes.IDENTIFICATIONS
                  and all(d.kind in codes.DIRECTIVE_KINDS and d.scope.kind in codes.SCOPE_KINDS and d.standing in codes.STANDINGS
                          for d in case.directives))  # fmt: skip
        cell_listed = (
            cell.category in codes.CATEGORIES and cell.label in codes.LABELS and kind in codes.SOURCE_KINDS
        )
        claimed = (
            ask.claimed_relationship in codes.RELATIONSHIP_KINDS
            and ask.reason_code in codes.SELF_CLAIM_REASONS
        )
        return {
            "subject": {subject.state}, "assurance": {"none" if who.assurance < 1 else "password" if who.assurance == 1 else "strong"},
            "facts": {"unreadable" if case.unreadable else "behind" if subject.epoch < ask.min_epoch else "readable"},
            "request_codes": {"known" if listed else "unknown"}, "cell_codes": {"known" if cell_listed else "unknown"},
            "identified_by": {ask.identified_by}, "role_class": {role}, "activity": set(who.activities), "purpose": {ask.purpose},
            "purpose_group": {group}, "action": {ask.action}, "restricted": {"yes" if subject.is_restricted else "no"},
            "deceased": {"yes" if subject.is_deceased else "no"},
            "age_band": {"unknown" if age is None else "sixteen-or-over" if age >= limits["proxy_end_age"]
                         else "review-age" if age >= limits["proxy_review_age"] else "child"},
            "relationship": {r.kind for r in now} or {"ended" if past else "none"},
            "self_claim": {"none" if ask.claimed_relationship is None else "claimed" if claimed else "unreasoned"},
            "opt_out": {opt_out(case.opt_out)}, "emergency": {emergency(case.emergency)},
            "category": {cell.category}, "label": {cell.label}, "source": {cell.source}, "source_kind": {kind},
            "source_control": control or {"none"},
            "bar": {"yes" if any(d.kind == "statutory-bar" and not d.via_task and covers(d, cell) for d in held) else "no"},
            "directive": {"none" if not left else "objection" if all(o.may_override or o.via_task for o in left) else "objection-final"},
            "agreement": {"in-force" if agreed else "none"}, "legal_basis": {a.legal_basis for a in agreed} or {"none"},
            "type_1": {"not-applicable" if kind not in ("practice", "unknown")
                       else "opted-out" if any(d.kind == "type-1" for d in held) else "clear"},
            "identity": {"warned" if cell.source in subject.warned_sources else "sure"},
        }  # fmt: skip

    def rule(cell):
        seen = attributes(cell)
        hit = lambda part: all(seen[name] & set(wanted) for name, wanted in part.items())  # noqa: E731
        live = [
            r
            for r in policy["rows"]
            if r.get("enabled", True) and hit(r["when"]) and not (r.get("unless") and hit(r["unless"]))
        ]
        denials = []  # (tier, row, overridable, hides)
        for tier in policy["tiers"][:8]:
            mine = [r for r in live if r["tier"] == tier["tier"]]
            denied = [(r["tier"], r["id"], r.get("overridable", False), r.get("hides", False))
                      for r in mine if r["effect"] == "DENY"]  # fmt: skip
            if not denied and tier["needs_permit"] and not any(r["effect"] == "PERMIT" for r in mine):
                denied = [
                    (tier["tier"], f"{tier['name']}-otherwise", tier["otherwise"]["overridable"], False)
                ]
            denials += denied
        overridable = bool(denials) and all(o for _, _, o, _ in denials)
        last = {r["effect"] for r in live if r["tier"] == 8}
        lifted = overridable and "LIFT" in last and "DENY" not in last
        permitted = not denials or lifted
        lifting = [r for r in live if r["effect"] == "LIFT"] if lifted else []
        giving = [r for r in live if r["effect"] in ("PERMIT", "OBLIGE")] + lifting if permitted else []
        resting = lifting if denials else [r for r in live if r["effect"] == "PERMIT"]
        return Ruling(
            is_permitted=permitted,
            is_hidden=any(h for *_, h in denials),
            is_overridable=overridable and not permitted,
            is_lifted=lifted,
            findings=frozenset([d[:2] for d in denials] + [(r["tier"], r["id"]) for r in resting]),
            obligations=frozenset(name for r in giving for name in r.get("obligations", ())),
            alerts=frozenset(
                name for r in live if r in giving or r["effect"] == "DENY" for name in r.get("alerts", ())
            ),
            ends=frozenset([latest(agreements(cell))] if permitted else ()),
            rows=frozenset(r["id"] for r in live),
            misses=frozenset(
                (r["id"], lacking[0])
                for r in policy["rows"]
                if not permitted and r["effect"] == "PERMIT" and r.get("enabled", True)
                if r["tier"] in {d[0] for d in denials} and not any(h for *_, h in denials)
                if len(
                    lacking := [name for name, wanted in r["when"].items() if not seen[name] & set(wanted)]
                )
                == 1
            ),
        )

    def latest(these):
        """When the last of some facts ends; None where there are none, or one is without end."""
        ends = [one.ends_at for one in these]
        return max(ends) if ends and all(ends) else None

    def obliged():
        names = {name for ruling in rulings.values() for name in ruling.obligations}
        is_lifted = any(ruling.is_lifted for ruling in rulings.values())
        found = {(name, ()) for name in names - {"ALERT_PRIVACY_OFFICER", "NOTIFY_PATIENT", "EXPIRES"}}
        found.add(("WITHHELD_NOTICE" if outcome == "PERMIT_FILTERED" else "HIDE_EXISTENCE", ()))
        told = [codes.EMERGENCY_REASONS[case.emergency.reason_code]] if is_lifted else []
        if ask.claimed_relationship is not None and ask.reason_code in codes.SELF_CLAIM_REASONS:
            told.append(codes.SELF_CLAIM_REASONS[ask.reason_code])
        if "ALERT_PRIVACY_OFFICER" in names:
            found |= {
                ("ALERT_PRIVACY_OFFICER", (("type", str(kind)), ("reason", str(why)))) for kind, why in told
            }
        if "NOTIFY_PATIENT" in names:
            found.add(("NOTIFY_PATIENT", (("days", str(limits["notify_patient_days"])),)))
        ends = {end for ruling in rulings.values() for end in ruling.ends} | {latest(now)}
        ends |= {until(case.emergency)} if is_lifted else set()
        if ends - {None}:
            found.add(("EXPIRES", (("at", min(ends - {None}).isoformat()),)))
        return frozenset(found)

    rulings = {cell: rule(cell) for cell in set(ask.cells)}
    visible = [ruling for ruling in rulings.values() if not ruling.is_hidden]
    closed = tuple(cell for cell, ruling in rulings.items() if ruling.is_overridable)
    helps = False
    if deeper and closed:  # would emergency access help? The same is asked again
        grant, state = case.emergency, emergency(case.emergency)
        if state != "open":
            is_hers = grant and (grant.person_id, grant.user_id, grant.organisation) == (
                subject.person_id,
                who.user_id,
                who.organisation,
            )
            is_renewed = is_hers and at < grant.opened_at + timedelta(days=1)
            grant = EmergencyGrant(
                0, subject.person_id, who.user_id, who.organisation, "emergency-care", at, at + timedelta(hours=4),
                renewals=grant.renewals + 1 if is_renewed else 0,
            )  # fmt: skip
        again = replace(case, request=replace(ask, purpose="BTG", cells=closed), emergency=grant)
        helps = bool(oracle(again, policy, deeper=False).permitted)
    shown = [ruling for ruling in visible if ruling.is_permitted]
    if not visible:
        outcome = "NOT_FOUND"
    elif len(shown) == len(visible):
        outcome = "PERMIT"
    elif shown:
        outcome = "PERMIT_FILTERED"
    else:
        outcome = "DENY_OVERRIDABLE" if helps else "DENY"
    return Answer(
        outcome=outcome,
        rulings=rulings,
        obligations=obliged() if shown else frozenset(),
        alerts=frozenset(name for ruling in rulings.values() for name in ruling.alerts),
    )
