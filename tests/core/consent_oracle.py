"""The naive second evaluator, written from docs/consent/semantics.md alone; slow, plain, and sharing no code with the first."""

from datetime import timedelta

from consent.facts import codes


def oracle(case, policy, *, deeper=True):
    """Return (outcome, permitted cells, hidden cells) of a case under a policy document (the JSON, not the compiled form)."""
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
        until = min(g.expires_at, g.opened_at + timedelta(hours=limits["emergency_hours"]))
        return "open" if g.opened_at <= at < until else "expired"

    def opt_out(e):
        if not e:
            return "none"
        fresh = timedelta() <= at - e.checked_at <= timedelta(days=limits["opt_out_days"])
        return "opted-out" if e.state == "opted-out" else "clear" if e.state == "clear" and fresh else "stale"

    def attributes(cell):
        source, age = case.sources.get(cell.source), subject.age_years
        kind = source.kind if source else "unknown"
        left = [o for o in held if o.kind == "objection" and covers(o, cell) and not lifted(o, cell)]
        agreed = [a for a in case.agreements if a.starts_at <= at and not (a.ends_at and a.ends_at <= at)
                  and a.consumers & ({"*"} | line(who.organisation)) and a.providers & ({"*"} | line(cell.source))
                  and role in a.role_classes and ask.purpose in a.purposes and cell.category in a.categories]  # fmt: skip
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
        """Return (permitted, hidden, overridable) of one cell."""
        seen = attributes(cell)
        hit = lambda part: all(seen[name] & set(wanted) for name, wanted in part.items())  # noqa: E731
        live = [
            r
            for r in policy["rows"]
            if r.get("enabled", True) and hit(r["when"]) and not (r.get("unless") and hit(r["unless"]))
        ]
        denials = []  # (overridable, hides)
        for tier in policy["tiers"][:8]:
            mine = [r for r in live if r["tier"] == tier["tier"]]
            denied = [
                (r.get("overridable", False), r.get("hides", False)) for r in mine if r["effect"] == "DENY"
            ]
            if not denied and tier["needs_permit"] and not any(r["effect"] == "PERMIT" for r in mine):
                denied = [(tier["otherwise"]["overridable"], False)]
            denials += denied
        overridable = bool(denials) and all(o for o, _ in denials)
        last = {r["effect"] for r in live if r["tier"] == 8}
        permitted = not denials or (overridable and "LIFT" in last and "DENY" not in last)
        return permitted, any(h for _, h in denials), overridable and not permitted

    from dataclasses import replace  # the question "would emergency access help?" asks the same again

    rulings = {cell: rule(cell) for cell in set(ask.cells)}
    visible = [r for r in rulings.values() if not r[1]]
    closed = tuple(cell for cell, (_, _, overridable) in rulings.items() if overridable)
    helps = False
    if deeper and closed:
        from consent.facts import EmergencyGrant

        grant = EmergencyGrant(
            0, subject.person_id, who.user_id, who.organisation, "emergency-care", at, at + timedelta(hours=4)
        )
        again = replace(case, request=replace(ask, purpose="BTG", cells=closed), emergency=grant)
        helps = bool(oracle(again, policy, deeper=False)[1])
    permitted = {cell for cell, ruling in rulings.items() if ruling[0]}
    if not visible:
        outcome = "NOT_FOUND"
    elif len(permitted) == len(visible):
        outcome = "PERMIT"
    elif permitted:
        outcome = "PERMIT_FILTERED"
    else:
        outcome = "DENY_OVERRIDABLE" if helps else "DENY"
    return outcome, permitted, {cell for cell, ruling in rulings.items() if ruling[1]}
