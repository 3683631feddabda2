"""Agreements between organisations as a matrix, and one by one: recorded, changed, planned, ended."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, make_response, render_template, request
from werkzeug.wrappers import Response

from consent.facts import codes
from consent.service.agreements import (
    NewAgreement,
    check_new,
    end_agreement,
    get_agreement,
    list_agreements,
    plan_change,
    read_matrix,
    record_agreement,
    role_classes_of,
)
from consent.service.context import Consent
from consent.store.agreements import AgreementRow
from foundation.directory import names_of
from foundation.errors import Conflict, Invalid
from foundation.ids import parse_id
from foundation.web import current_principal, requires
from foundation.web.pages import LOCAL, Fault, day_begins, fault_of, go, whole_number

SAID = {
    "agreement-new": "The agreement is recorded.",
    "agreement-changed": "The change is recorded. The version before it stays on record.",
    "agreement-unchanged": "It says what it said before, so nothing was recorded.",
    "agreement-ended": "The end is recorded.",
    "agreement-planned": "The change is planned. Until its first day everything stays as it is.",
}
_SETS = ("providers", "consumers", "role_classes", "purposes", "categories")
_TEXTS = ("name", "legal_basis", "approved_by")
_WORDS = {
    "agreement-name": "Give it a name of at most 120 characters",
    "agreement-name-taken": "Another agreement has this name. A planned change needs a name of its own",
    "organisation-unknown": "The directory does not know one of these codes",
    "end-before-start": "It would end before it begins",
    "end-in-past": "The day has passed: what was decided under it stands. Choose today or later",
    "agreement-ended": "This agreement has ended already",
    "approver-format": "Say who approved it in at most 200 characters",
    "day-format": "Write a date as day, month and year, such as 1 4 2027",
    "day-missing": "Give the day",
}
_MISSING = {
    "providers": "Say who provides: ODS codes, or * for every organisation",
    "consumers": "Say who consumes: ODS codes, or * for every organisation",
    "role_classes": "Choose the roles",
    "purposes": "Choose the purposes",
    "categories": "Choose the kinds of information",
    "legal_basis": "Choose the legal basis",
}
_PLACES = {"starts_at": "starts-day", "ends_at": "ends-day"}
_LISTED = 50


def add_pages(room: Blueprint, consent: Consent) -> None:
    @room.get("/agreements")
    @requires("directory:read")
    def matrix() -> str:
        """Show who gives what to whom."""
        args = request.args
        category = args.get("category") if args.get("category") in codes.CATEGORIES else None
        purpose = args.get("purpose") if args.get("purpose") in codes.PURPOSES else None
        at = _chosen_day(args) or consent.clock.now()
        found = read_matrix(
            consent,
            at,
            category=category,
            purpose=purpose,
            providers_after=args.get("providers", "")[:10],
            consumers_after=args.get("consumers", "")[:10],
        )
        return render_template(
            "consent/matrix.html",
            found=found,
            category_chosen=category,
            purpose_chosen=purpose,
            day=at.astimezone(LOCAL),
            category_codes=sorted(codes.CATEGORIES),
            purpose_codes=sorted(codes.PURPOSES),
            may_write="agreements:write" in current_principal().scopes,
        )

    @room.get("/agreements/list")
    @requires("directory:read")
    def listed() -> str:
        """List agreements, of one provider and consumer or all."""
        after = parse_id(request.args["after"], "after") if request.args.get("after") else 0
        rows = list_agreements(
            consent,
            after=after,
            limit=_LISTED + 1,
            provider=request.args.get("provider", "")[:10] or None,
            consumer=request.args.get("consumer", "")[:10] or None,
            is_ending=request.args.get("ending") == "soon",
        )
        return render_template(
            "consent/agreements.html",
            is_ending=request.args.get("ending") == "soon",
            rows=[(row, _state(consent, row)) for row in rows[:_LISTED]],
            more=rows[_LISTED - 1].fact.agreement_id if len(rows) > _LISTED else None,
            names=_names(consent, rows[:_LISTED]),
            provider=request.args.get("provider"),
            consumer=request.args.get("consumer"),
        )

    @room.get("/agreements/new")
    @requires("agreements:write")
    def new() -> str:
        """Ask what is agreed."""
        return _form_page(consent, {"version": "0"}, {}, "/agreements/new")

    @room.post("/agreements/new")
    @requires("agreements:write")
    def record() -> Response:
        """Show what is agreed once more, then record it."""
        return _record(consent, None)

    @room.get("/agreements/<agreement_id>")
    @requires("directory:read")
    def one(agreement_id: str) -> str:
        """Show an agreement with its versions."""
        rows = get_agreement(consent, parse_id(agreement_id, "agreement_id"))
        return render_template(
            "consent/agreement.html",
            row=rows[0],
            rows=rows,
            changes=[_differences(later, earlier) for later, earlier in zip(rows, rows[1:], strict=False)],
            state=_state(consent, rows[0]),
            names=_names(consent, rows[:1]),
            may_write="agreements:write" in current_principal().scopes,
        )

    @room.get("/agreements/<agreement_id>/change")
    @requires("agreements:write")
    def ask_change(agreement_id: str) -> str:
        """Ask what is to be otherwise, at once or from a day on."""
        row = get_agreement(consent, parse_id(agreement_id, "agreement_id"))[0]
        return _form_page(consent, *_as_form(row), f"/agreements/{row.fact.agreement_id}/change", row=row)

    @room.post("/agreements/<agreement_id>/change")
    @requires("agreements:write")
    def change(agreement_id: str) -> Response:
        """Show the change, then record it."""
        return _record(consent, get_agreement(consent, parse_id(agreement_id, "agreement_id"))[0])

    @room.get("/agreements/<agreement_id>/end")
    @requires("agreements:write")
    def ask_end(agreement_id: str) -> Response:
        """Ask when it ends."""
        row = get_agreement(consent, parse_id(agreement_id, "agreement_id"))[0]
        return _end_page(consent, row, {"version": str(row.fact.version)})

    @room.post("/agreements/<agreement_id>/end")
    @requires("agreements:write")
    def end(agreement_id: str) -> Response:
        """Record the end."""
        number = parse_id(agreement_id, "agreement_id")
        row = get_agreement(consent, number)[0]
        values = {name: value.strip() for name, value in request.form.items()}
        try:
            last = day_begins(values, "ends", after_year=1990, is_needed=True)
            assert last is not None
            end_agreement(
                consent,
                number,
                _after(last),
                current_principal(),
                approved_by=values.get("approved_by") or None,
                if_version=whole_number(values.get("version")),
            )
        except Conflict:
            return _end_page(consent, row, values | {"version": str(row.fact.version)}, has_moved=True)
        except Invalid as error:
            return _end_page(consent, row, values, faults=[fault_of(error, _WORDS, _PLACES)])
        return go(f"/agreements/{number}", "agreement-ended")


# Recording -----------------------------------------------------------------------------------------------------------


def _record(consent: Consent, before: AgreementRow | None) -> Response:
    by, form = current_principal(), request.form
    action = "/agreements/new" if before is None else f"/agreements/{before.fact.agreement_id}/change"
    values = {name: form.get(name, "").strip() for name in form if name not in (*_SETS, "csrf_token", "step")}
    sets = {name: _codes(form, name) for name in _SETS}
    if form.get("step") == "back":
        return make_response(_form_page(consent, values, sets, action, row=before))
    is_planned = before is not None and values.get("when") == "later"
    new, faults = _read(values, sets, before, is_planned=is_planned)
    if new is not None:
        try:
            check_new(consent, new)
        except Invalid as error:
            new, faults = None, [_fault(error)]
    if new is None:
        return make_response(_form_page(consent, values, sets, action, row=before, faults=faults), 422)
    has_moved = before is not None and whole_number(values.get("version")) != before.fact.version
    if form.get("step") != "save" or has_moved:
        return _review_page(
            consent, values, sets, new, before, action, is_planned=is_planned, has_moved=has_moved
        )
    try:
        if is_planned:
            assert before is not None
            _, recorded = plan_change(
                consent, before.fact.agreement_id, new, by, if_version=whole_number(values.get("version"))
            )
            return go(f"/agreements/{recorded.agreement.fact.agreement_id}", "agreement-planned")
        recorded = record_agreement(consent, new, by, if_version=whole_number(values.get("version")))
    except Invalid as error:
        return make_response(
            _form_page(consent, values, sets, action, row=before, faults=[_fault(error)]), 422
        )
    except Conflict:
        if before is None:
            taken = [Fault("name", "There is an agreement of this name already: change that one")]
            return make_response(_form_page(consent, values, sets, action, faults=taken), 409)
        latest = get_agreement(consent, before.fact.agreement_id)[0]
        return _review_page(consent, values, sets, new, latest, action, is_planned=is_planned, has_moved=True)
    return go(f"/agreements/{recorded.agreement.fact.agreement_id}", f"agreement-{recorded.state}")


def _read(
    values: Mapping[str, str],
    sets: Mapping[str, list[str]],
    before: AgreementRow | None,
    *,
    is_planned: bool,
) -> tuple[NewAgreement | None, list[Fault]]:
    faults = [Fault(name, _MISSING[name]) for name in _SETS if not sets[name]]
    if values.get("legal_basis", "") not in codes.LEGAL_BASES:
        faults.append(Fault("legal_basis", _MISSING["legal_basis"]))
    name = values.get("name", "") if before is None or is_planned else before.name
    if not name:
        faults.append(Fault("name", _WORDS["agreement-name"]))
    days = {}
    for place in ("starts", "ends"):
        try:
            days[place] = day_begins(values, place, after_year=1990, is_needed=place == "starts")
        except Invalid as error:
            faults.append(fault_of(error, _WORDS, _PLACES))
    if faults:
        return None, faults
    starts, ends = days["starts"], days["ends"]
    assert starts is not None
    return NewAgreement(
        name=name,
        **{name: frozenset(sets[name]) for name in _SETS},
        legal_basis=values["legal_basis"],
        starts_at=_kept_instant(before, starts),
        ends_at=None if ends is None else _after(ends),
        approved_by=values.get("approved_by") or None,
    ), []


def _kept_instant(before: AgreementRow | None, day: datetime) -> datetime:
    """Return the instant at which it began already where the form still says that day."""
    began = None if before is None else before.fact.starts_at
    return (
        began if began is not None and began.astimezone(LOCAL).date() == day.date() else day.astimezone(UTC)
    )


def _codes(form: Any, name: str) -> list[str]:
    if name in ("providers", "consumers"):
        return list(dict.fromkeys(form.get(name, "").replace(",", " ").upper().split()))
    return [code for code in dict.fromkeys(form.getlist(name)) if code]


def _fault(error: Invalid) -> Fault:
    words = {
        **_WORDS,
        "agreement-code-unknown": _MISSING.get(error.field or "", "One of these codes is not known"),
    }
    return fault_of(error, words, _PLACES)


def _after(last_day: datetime) -> datetime:
    """Return the instant at which a last day has passed, in London, where a day may have 23 hours."""
    following = last_day.date() + timedelta(days=1)
    return datetime(following.year, following.month, following.day, tzinfo=LOCAL).astimezone(UTC)


def _chosen_day(args: Mapping[str, str]) -> datetime | None:
    try:
        day = day_begins(args, "on", after_year=1990)
    except Invalid:
        return None
    return None if day is None else day + timedelta(hours=12)


# Pages ---------------------------------------------------------------------------------------------------------------


def _as_form(row: AgreementRow) -> tuple[dict[str, str], dict[str, list[str]]]:
    fact = row.fact
    values = {
        "name": row.name,
        "legal_basis": fact.legal_basis,
        "approved_by": "",
        "version": str(fact.version),
        "when": "now",
    }
    last = None if fact.ends_at is None else fact.ends_at - timedelta(seconds=1)
    for name, at in (("starts", fact.starts_at), ("ends", last)):
        if at is not None:
            day = at.astimezone(LOCAL)
            values |= {
                f"{name}-day": str(day.day),
                f"{name}-month": str(day.month),
                f"{name}-year": str(day.year),
            }
    return values, {name: sorted(getattr(fact, name)) for name in _SETS}


def _form_page(
    consent: Consent,
    values: Mapping[str, str],
    sets: Mapping[str, list[str]],
    action: str,
    *,
    row: AgreementRow | None = None,
    faults: Any = (),
) -> str:
    return render_template(
        "consent/agreement_form.html",
        values=values,
        sets=sets,
        action=action,
        row=row,
        faults=list(faults),
        role_class_codes=sorted(role_classes_of(consent)),
        purpose_codes=sorted(codes.PURPOSES),
        category_codes=sorted(codes.CATEGORIES),
        basis_codes=sorted(codes.LEGAL_BASES),
    )


def _review_page(
    consent: Consent,
    values: Mapping[str, str],
    sets: Mapping[str, list[str]],
    new: NewAgreement,
    before: AgreementRow | None,
    action: str,
    *,
    is_planned: bool,
    has_moved: bool,
) -> Response:
    if has_moved and before is not None:
        values = {**values, "version": str(before.fact.version)}
    organisations = {*new.providers, *new.consumers}
    with consent.db.read() as tx:
        names = names_of(tx, organisations - {"*"})
    page = render_template(
        "consent/agreement_review.html",
        values=values,
        sets=sets,
        new=new,
        before=before,
        action=action,
        is_planned=is_planned,
        has_moved=has_moved,
        differences=[] if before is None else _differences(new, before),
        names=names,
        last_day=None if new.ends_at is None else new.ends_at - timedelta(seconds=1),
    )
    return make_response(page, 409 if has_moved else 200)


def _end_page(
    consent: Consent,
    row: AgreementRow,
    values: Mapping[str, str],
    *,
    faults: Any = (),
    has_moved: bool = False,
) -> Response:
    page = render_template(
        "consent/agreement_end.html",
        row=row,
        values=values,
        faults=list(faults),
        has_moved=has_moved,
        names=_names(consent, [row]),
    )
    return make_response(page, 409 if has_moved else 422 if faults else 200)


def _state(consent: Consent, row: AgreementRow) -> str:
    now = consent.clock.now()
    if row.fact.starts_at > now:
        return "planned"
    return "in-force" if row.fact.is_in_force(now) else "past"


def _differences(later: Any, earlier: AgreementRow) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Return for each part that differs what came and what went."""
    fact, before = getattr(later, "fact", later), earlier.fact
    found = []
    for name in _SETS:
        came, went = getattr(fact, name) - getattr(before, name), getattr(before, name) - getattr(fact, name)
        if came or went:
            found.append((name, tuple(sorted(came)), tuple(sorted(went))))
    if fact.legal_basis != before.legal_basis:
        found.append(("legal_basis", (fact.legal_basis,), (before.legal_basis,)))
    for name in ("starts_at", "ends_at"):
        one, other = getattr(fact, name), getattr(before, name)
        if one != other:
            found.append((name, (_written(name, one),), (_written(name, other),)))
    return found


def _written(name: str, at: datetime | None) -> str:
    if at is None:
        return "no end"
    day = (at - timedelta(seconds=1) if name == "ends_at" else at).astimezone(LOCAL)
    return f"{day.day} {day:%B %Y}"


def _names(consent: Consent, rows: list[AgreementRow]) -> dict[str, str]:
    known = {code for row in rows for code in (*row.fact.providers, *row.fact.consumers)} - {"*"}
    with consent.db.read() as tx:
        return names_of(tx, known)
