"""Recording what patients asked for: form, what it would change, receipt, history; changing, withdrawing, deciding and striking out.

A form is sent twice: to be looked at, when nothing is written, and to be recorded. Between the two it stands in the page, with the epoch
of the person that it was looked at for, and a number of its own by which it is known when it is sent twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, make_response, render_template, request
from werkzeug.wrappers import Response

from consent.facts import Scope, codes
from consent.service.asking import ORDINARY_CATEGORIES
from consent.service.context import Consent
from consent.service.directives import (
    CALDICOTT_GUARDIAN,
    Account,
    Held,
    NewDirective,
    count_waiting,
    decide_directive,
    find_by_reference,
    get_directive,
    list_directives,
    list_due,
    record_directive,
    replace_directive,
    withdraw_directive,
)
from consent.service.foresee import Foreseen, Foresight, foresee_change, foresee_directive
from consent.service.wording import Wording, wording_of
from consent.store.directives import DirectiveRow, StandingDirective
from consent.web.console.who import (
    Who,
    fault_of_form,
    record_of_form,
    shown_of_form,
    typed,
    who_is,
)
from consent.web.console.words import last_day
from foundation.directory import names_of, parse_ods_code, settings_of
from foundation.errors import Conflict, Forbidden, Invalid, NotFound
from foundation.ids import format_id, new_id, parse_id
from foundation.principal import Principal
from foundation.web import current_principal, read_cursor, requires, write_cursor
from foundation.web.pages import LOCAL, Fault, day_begins, fault_of, go, whole_number

SAID = {
    "directive-withdrawn": "It is withdrawn. It stays on record.",
    "directive-upheld": "It is upheld.",
    "directive-refused": "It is refused. The reason is recorded with it.",
    "directive-entered-in-error": "It is struck out as entered in error. It stays on record.",
    "directive-known": "This was recorded before, so nothing was recorded again.",
}
_CARRIED = (
    "kind", "scope", "category", "organisation", "purpose", "emergency", "capacity", "channel", "evidence", "standing", "reason",
    "effective-day", "effective-month", "effective-year", "ends-day", "ends-month", "ends-year", "review-day", "review-month",
    "review-year", "lifts", "instead", "change_reason", "once",
)  # fmt: skip
_WORDS = {
    "reason-missing": "Give the reason",
    "scope-unknown": "Choose what it covers",
    "organisation-unknown": "The directory knows no organisation of this code",
    "end-before-start": "It would end before it begins",
    "lifts-unknown": "What it should lift is not on record for this person",
    "role-not-allowed": "Your role does not allow this",
    "organisation-not-yours": "You can record this for your own organisation only",
    "text-too-long": "This is too long",
    "day-format": "Write a date as day, month and year, such as 3 3 2026",
    "control-character": "This holds a character that cannot be kept",
    "replacement-refused": "What is refused takes no place. Leave what is on record as it is, and record the refusal by itself",
    "replacement-later": "It must begin at once, or neither of the two would be in force until then",
}
_PLACES = {
    "kind": "kind",
    "scope": "scope",
    "reason": "reason",
    "ends_at": "ends-day",
    "review_at": "review-day",
    "effective_at": "effective-day",
    "standing": "standing",
    "evidence": "evidence",
    "change_reason": "change_reason",
    "lifts": "kind",
}
_LISTED = 50
_LONGEST = {"evidence": 200, "reason": 500, "change_reason": 500}


@dataclass(frozen=True, slots=True)
class Subject:
    """For whom a form is: a known person, or somebody described by a form."""

    person_id: int | None
    who: Who
    form: Mapping[str, str]

    @property
    def url(self) -> str:
        return "/objections/unknown" if self.person_id is None else f"/objections/people/{self.person_id}"


def add_pages(room: Blueprint, consent: Consent) -> None:
    @room.get("/objections/due")
    @requires("directives:write")
    def due() -> str:
        """List what waits at the caller's organisation to be decided or reviewed."""
        why = "review" if request.args.get("why") == "review" else "pending"
        by, after = current_principal(), read_cursor(request.args.get("cursor"), str, str)
        found = list_due(consent, why, by, after=_place(after), limit=_LISTED + 1)
        shown = found[:_LISTED]
        return render_template(
            "consent/due.html",
            why=why,
            rows=[(one.row, _state(consent, one)) for one in shown],
            names=_names(consent, [one.row for one in shown]),
            next=_token(why, shown[-1]) if len(found) > _LISTED else None,
            counts=count_waiting(consent, by),
        )

    @room.get("/objections/people/<person_id>")
    @requires("directives:read", "persons:read")
    def of_person(person_id: str) -> str:
        """Show every directive that bears on a person."""
        number, by = parse_id(person_id, "person_id"), current_principal()
        held = list_directives(consent, number, by)
        return render_template(
            "consent/person.html",
            person_id=number,
            who=who_is(consent, number, by),
            rows=[_row_of(consent, one) for one in reversed(held)],
            names=_names(consent, [one.directive.row for one in held]),
        )

    @room.get("/objections/people/<person_id>/new")
    @requires("directives:write", "persons:read")
    def new_for_person(person_id: str) -> str:
        """Ask what a known person wants."""
        by = current_principal()
        subject = _known(consent, person_id, by)
        return _form_page(consent, subject, _begun(consent, by, request.args), by)

    @room.post("/objections/unknown/new")
    @requires("directives:write")
    def new_for_unknown() -> str | Response:
        """Ask what somebody wants whom the index does not know yet."""
        by = current_principal()
        return _form_page(consent, _described(request.form), _begun(consent, by, {}), by)

    @room.post("/objections/people/<person_id>/check")
    @requires("directives:write", "persons:read")
    def check_for_person(person_id: str) -> Response:
        """Show what it would change, before anything is saved."""
        by = current_principal()
        return _check(consent, _known(consent, person_id, by), by)

    @room.post("/objections/unknown/check")
    @requires("directives:write")
    def check_for_unknown() -> Response:
        """As for a known person."""
        return _check(consent, _described(request.form), current_principal())

    @room.post("/objections/people/<person_id>/record")
    @requires("directives:write", "persons:read")
    def record_for_person(person_id: str) -> Response:
        """Record it, once."""
        by = current_principal()
        return _record(consent, _known(consent, person_id, by), by)

    @room.post("/objections/unknown/record")
    @requires("directives:write")
    def record_for_unknown() -> Response:
        """As for a known person."""
        return _record(consent, _described(request.form), current_principal())

    @room.get("/objections/<directive_id>")
    @requires("directives:read", "persons:read")
    def one(directive_id: str) -> str:
        """Show one directive with its history."""
        by = current_principal()
        found = get_directive(consent, parse_id(directive_id, "directive_id"), by)
        return render_template("consent/directive.html", **_account(consent, found, by))

    @room.get("/objections/<directive_id>/receipt/<event_id>")
    @requires("directives:read", "persons:read")
    def receipt(directive_id: str, event_id: str) -> str:
        """Show what the patient takes home, to be printed."""
        by, event = current_principal(), parse_id(event_id, "event_id")
        found = get_directive(consent, parse_id(directive_id, "directive_id"), by, event_id=event)
        proof = next((one for one in found.proofs if one.event_id == event), None)
        if proof is None:
            raise NotFound("receipt-unknown")
        return render_template("consent/receipt.html", proof=proof, **_account(consent, found, by))

    @room.get("/objections/<directive_id>/<act>")
    @requires("directives:write", "persons:read")
    def ask_change(directive_id: str, act: str) -> Response:
        """Show what it would change to withdraw, decide or strike out a directive, and ask for the reason."""
        _check_act(act)
        return _change_page(consent, parse_id(directive_id, "directive_id"), _ACTS[act], current_principal())

    @room.post("/objections/<directive_id>/<act>")
    @requires("directives:write", "persons:read")
    def change(directive_id: str, act: str) -> Response:
        """Withdraw, decide or strike out a directive."""
        _check_act(act)
        number, kind, by = parse_id(directive_id, "directive_id"), _ACTS[act], current_principal()
        reason = request.form.get("reason", "").strip()
        try:
            _check_texts({"reason": reason})
            if kind == "withdrawn":
                withdraw_directive(consent, number, reason, by)
            else:
                decide_directive(consent, number, kind, reason, by)
        except Invalid as error:
            return _change_page(consent, number, kind, by, faults=[fault_of(error, _WORDS, _PLACES)])
        return go(f"/objections/{number}", f"directive-{kind}")


def _token(why: str, last: StandingDirective) -> str:
    at = last.row.recorded_at if why == "pending" else last.row.review_at
    assert at is not None
    return write_cursor((at.isoformat(), format_id(last.row.directive_id)))


def _place(token: tuple[str, str] | None) -> tuple[datetime, int] | None:
    if token is None:
        return None
    try:
        at = datetime.fromisoformat(token[0])
    except ValueError:
        raise Invalid("cursor-format", field="cursor") from None
    if at.tzinfo is None:
        raise Invalid("cursor-format", field="cursor")
    return at, parse_id(token[1], "cursor")


# For whom ------------------------------------------------------------------------------------------------------------


def _known(consent: Consent, person_id: str, by: Principal) -> Subject:
    number = parse_id(person_id, "person_id")
    return Subject(number, who_is(consent, number, by), {})


def _described(form: Mapping[str, str]) -> Subject:
    return Subject(None, Who(None, shown_of_form(form)), typed(form))


# The form ------------------------------------------------------------------------------------------------------------


def _begun(consent: Consent, by: Principal, args: Mapping[str, str]) -> dict[str, str]:
    """Return what a form begins with; one that changes a directive, with what that said."""
    values = {
        "once": f"console-{new_id()}",
        "capacity": "patient",
        "channel": "in-person",
        "standing": "upheld",
    }
    kind = args.get("kind", "")
    if kind in _kinds_for(consent, by):
        values["kind"] = kind
    if (lifted := args.get("lifts")) is not None:
        values |= _as_form(get_directive(consent, parse_id(lifted, "lifts"), by).directive.row)
        return values | {
            "kind": "permission",
            "lifts": lifted,
            "standing": "upheld",
            "reason": "",
            "evidence": "",
        }
    if (before := args.get("instead")) is not None:
        row = get_directive(consent, parse_id(before, "instead"), by).directive.row
        return values | _as_form(row) | {"kind": row.kind, "instead": before, "standing": "upheld"}
    return values


def _as_form(row: DirectiveRow) -> dict[str, str]:
    values = {
        "scope": row.scope_kind,
        row.scope_kind: row.scope_code,
        "emergency": "may-override" if row.may_override else "binds",
        "capacity": row.capacity,
        "channel": row.channel,
        "evidence": row.evidence or "",
        "lifts": ",".join(map(format_id, row.lifts)),
    }
    for name, at in (("review", row.review_at), ("ends", _last_day(row.ends_at))):
        if at is not None:
            day = at.astimezone(LOCAL)
            values |= {
                f"{name}-day": str(day.day),
                f"{name}-month": str(day.month),
                f"{name}-year": str(day.year),
            }
    return values


def _form_page(
    consent: Consent, subject: Subject, values: Mapping[str, str], by: Principal, *, faults: Any = ()
) -> str:
    return render_template(
        "consent/directive_form.html",
        subject=subject,
        values=values,
        faults=list(faults),
        kind_codes=_kinds_for(consent, by),
        capacity_codes=_capacities(),
        channel_codes=("in-person", "phone", "letter", "form", "online", "other"),
        category_codes=sorted(ORDINARY_CATEGORIES | {"membership"}),
        purpose_codes=sorted(codes.PURPOSES),
    )


def _kinds_for(consent: Consent, by: Principal) -> tuple[str, ...]:
    """Return what somebody may record: of practices alone a Type 1 opt-out, of Caldicott Guardians alone a bar by law."""
    with consent.db.read() as tx:
        is_practice = settings_of(tx, [by.organisation]).get(by.organisation) == "practice"
    of_practices = ("type-1",) if is_practice else ()
    bars = ("statutory-bar",) if by.role == CALDICOTT_GUARDIAN else ()
    return ("objection", "permission", "dissent", *of_practices, *bars)


def _capacities() -> tuple[str, ...]:
    order = (
        "patient",
        "parent",
        "attorney",
        "deputy",
        "clinician-best-interests",
        "practice",
        "provider",
        "court",
    )
    return tuple(code for code in order if code in codes.CAPACITIES)


def _values() -> dict[str, str]:
    return {name: request.form.get(name, "").strip() for name in _CARRIED if request.form.get(name)}


def _read(
    consent: Consent, values: Mapping[str, str], subject: Subject, by: Principal
) -> tuple[NewDirective | None, list[Fault]]:
    """Read a form; what is wrong with it is told all at once."""
    faults: list[Fault] = []
    kind, standing = values.get("kind", ""), values.get("standing", "")
    if kind not in _kinds_for(consent, by):
        faults.append(Fault("kind", "Choose what is asked for"))
    scope = _scope(values, kind, by, faults)
    emergency = values.get("emergency", "")
    if kind == "objection" and emergency not in ("may-override", "binds"):
        faults.append(Fault("emergency", "Choose what is to be done in an emergency"))
    if standing not in ("upheld", "refused", "pending"):
        faults.append(Fault("standing", "Choose how it was decided"))
    if values.get("capacity", "") not in codes.CAPACITIES:
        faults.append(Fault("capacity", "Choose who asks"))
    if standing == "refused" and not values.get("reason"):
        faults.append(Fault("reason", "Give the reason why it was refused"))
    if values.get("instead") and not values.get("change_reason"):
        faults.append(Fault("change_reason", "Say why it is changed"))
    days = {}
    for name in ("effective", "ends", "review"):
        try:
            days[name] = day_begins(values, name)
        except Invalid as error:
            faults.append(fault_of(error, _WORDS, _PLACES))
    try:
        _check_texts(values)
    except Invalid as error:
        faults.append(fault_of(error, _WORDS, _PLACES))
    if faults or scope is None:
        return None, faults
    new = NewDirective(
        kind=kind,
        scope=scope,
        received_by=by.organisation,
        person_id=subject.person_id,
        form=record_of_form(subject.form, by.organisation) if subject.person_id is None else None,
        standing=standing,
        may_override=emergency != "binds",
        lifts=_lifts(values) if kind == "permission" else (),
        capacity=values["capacity"],
        channel=values.get("channel", "other"),
        evidence=values.get("evidence") or None,
        reason=values.get("reason") or None,
        review_at=days["review"],
        effective_at=days["effective"],
        ends_at=days["ends"] + timedelta(days=1) if days["ends"] is not None else None,
        reference=values.get("once") or None,
    )
    return new, []


def _scope(values: Mapping[str, str], kind: str, by: Principal, faults: list[Fault]) -> Scope | None:
    if kind == "dissent":
        return Scope("organisation", by.organisation)
    if kind == "type-1":
        return Scope("everything")
    chosen = values.get("scope", "")
    if chosen == "everything":
        return Scope("everything")
    code = values.get(chosen, "").strip()
    match chosen:
        case "organisation":
            try:
                return Scope(chosen, parse_ods_code(code.upper()))
            except Invalid:
                faults.append(Fault("organisation", "Give the ODS code of the organisation, such as RRV"))
        case "category" | "purpose":
            known = codes.CATEGORIES if chosen == "category" else codes.PURPOSES
            if code in known:
                return Scope(chosen, code)
            what = "which kind of information" if chosen == "category" else "for which use"
            faults.append(Fault(chosen, f"Choose {what}"))
        case _:
            faults.append(Fault("scope", "Choose what it covers"))
    return None


def _lifts(values: Mapping[str, str]) -> tuple[int, ...]:
    return tuple(parse_id(one, "lifts") for one in values.get("lifts", "").split(",") if one)


def _check_texts(values: Mapping[str, str]) -> None:
    for name, longest in _LONGEST.items():
        text = values.get(name, "")
        if len(text) > longest:
            raise Invalid("text-too-long", field=name)
        if not text.replace("\r", " ").replace("\n", " ").isprintable():
            raise Invalid("control-character", field=name)


# Looking before it is saved ------------------------------------------------------------------------------------------


def _check(consent: Consent, subject: Subject, by: Principal) -> Response:
    values = _values()
    if request.form.get("step") == "change":
        return make_response(_form_page(consent, subject, values, by))
    new, faults = _read(consent, values, subject, by)
    if new is None:
        return make_response(_form_page(consent, subject, values, by, faults=faults), 422)
    return _check_page(consent, subject, values, new, by)


def _check_page(
    consent: Consent,
    subject: Subject,
    values: Mapping[str, str],
    new: NewDirective,
    by: Principal,
    *,
    faults: Any = (),
    has_moved: bool = False,
) -> Response:
    instead = parse_id(values["instead"], "instead") if values.get("instead") else None
    try:
        foresight = foresee_directive(consent, new, by, instead_of=instead)
    except (Invalid, Forbidden) as error:
        return make_response(_form_page(consent, subject, values, by, faults=_faults_of(error)), 422)
    names = _names(consent, [], new.scope, new.received_by)
    page = render_template(
        "consent/check.html",
        subject=subject,
        values=values,
        new=new,
        names=names,
        wording=_wording(new, names),
        foresight=foresight,
        shown=_sights(foresight),
        faults=list(faults),
        has_moved=has_moved,
        ends_on=_last_day(new.ends_at),
    )
    return make_response(page, 422 if faults else 409 if has_moved else 200)


def _faults_of(error: Any) -> list[Fault]:
    if (error.field or "").startswith("form"):
        return list(fault_of_form(error))
    return [fault_of(Invalid(error.code, field=error.field), _WORDS, _PLACES)]


def _wording(new: NewDirective, names: Mapping[str, str]) -> Wording:
    return wording_of(
        new.kind,
        new.scope,
        standing=new.standing,
        may_override=new.may_override,
        names=names,
        received_by=new.received_by,
        ends_at=new.ends_at,
    )


def _sights(foresight: Foresight) -> dict[str, list[Foreseen]]:
    """Return the examples as they are read: what changes first; and apart those who see nothing, before or after."""
    ordered = sorted(foresight.examples, key=lambda one: not one.sight.is_changed)
    blind = [one for one in ordered if not (one.sight.is_changed or one.sight.kept or one.sight.opened)]
    return {"seeing": [one for one in ordered if one not in blind], "blind": blind}


# Recording -----------------------------------------------------------------------------------------------------------


def _record(consent: Consent, subject: Subject, by: Principal) -> Response:
    values = _values()
    new, faults = _read(consent, values, subject, by)
    if new is None:
        return make_response(_form_page(consent, subject, values, by, faults=faults), 422)
    if request.form.get("sure") != "yes":
        unsure = [Fault("sure", "Say that you have checked who it is")]
        return _check_page(consent, subject, values, new, by, faults=unsure)
    names = _names(consent, [], new.scope, new.received_by)
    new = replace(new, wording_digest=_wording(new, names).digest)
    epoch = whole_number(request.form.get("epoch"))
    try:
        if values.get("instead"):
            before = parse_id(values["instead"], "instead")
            made = replace_directive(
                consent, before, new, values.get("change_reason", ""), by, if_epoch=epoch
            )
        else:
            made = record_directive(consent, new, by, if_epoch=epoch)
    except Conflict as error:
        return _not_recorded(consent, subject, values, new, by, error)
    except (Invalid, Forbidden) as error:
        return make_response(_form_page(consent, subject, values, by, faults=_faults_of(error)), 422)
    return go(f"/objections/{made.directive_id}/receipt/{made.event_id}")


def _not_recorded(
    consent: Consent,
    subject: Subject,
    values: Mapping[str, str],
    new: NewDirective,
    by: Principal,
    error: Conflict,
) -> Response:
    if error.code == "reference-known" and new.reference is not None:
        known = find_by_reference(consent, new.received_by, new.reference, by)
        if known is not None:
            return go(f"/objections/{known}", "directive-known")
    if error.code == "person-changed":
        return _check_page(consent, subject, values, new, by, has_moved=True)
    raise error


# One that is on record -----------------------------------------------------------------------------------------------


def _account(consent: Consent, found: Account, by: Principal) -> dict[str, Any]:
    row = found.directive.row
    names = _names(consent, [row])
    wording = wording_of(
        row.kind,
        Scope(row.scope_kind, row.scope_code),
        standing=found.directive.standing if found.directive.standing == "refused" else row.standing,
        may_override=row.may_override,
        names=names,
        received_by=row.received_by,
        ends_at=row.ends_at,
    )
    return {
        "found": found,
        "row": row,
        "names": names,
        "wording": wording,
        "state": _state(consent, found.directive),
        "who": who_is(consent, found.person_id or row.identity_id, by),
        "ends_on": _last_day(row.ends_at),
        "acts": _acts(found.directive, by),
        "is_own": row.recorded_by == by.id,
        "is_ours": by.may_act_for(row.received_by),
    }


def _acts(directive: StandingDirective, by: Principal) -> list[tuple[str, str]]:
    """Return what this person may do with a directive, as the service will judge it too."""
    is_closed = directive.withdrawn_at is not None or directive.standing == "entered-in-error"
    if is_closed or "directives:write" not in by.scopes or not by.may_act_for(directive.row.received_by):
        return []
    found = [("uphold", "Uphold it"), ("refuse", "Refuse it")] if directive.standing == "pending" else []
    if directive.standing != "refused":
        found.append(("withdraw", "Withdraw it"))
    if directive.row.recorded_by != by.id:
        found.append(("strike-out", "Strike it out as entered in error"))
    return found


_ACTS = {
    "withdraw": "withdrawn",
    "uphold": "upheld",
    "refuse": "refused",
    "strike-out": "entered-in-error",
}


def _check_act(name: str) -> None:
    if name not in _ACTS:
        raise NotFound("route-unknown")


def _change_page(
    consent: Consent, directive_id: int, kind: str, by: Principal, *, faults: Any = ()
) -> Response:
    found = get_directive(consent, directive_id, by)
    foresight = foresee_change(consent, directive_id, kind, by)
    page = render_template(
        "consent/change.html",
        kind=kind,
        act=next(name for name, one in _ACTS.items() if one == kind),
        shown=_sights(foresight),
        foresight=foresight,
        faults=list(faults),
        reason=request.form.get("reason", ""),
        **_account(consent, found, by),
    )
    return make_response(page, 422 if faults else 200)


def _row_of(consent: Consent, held: Held) -> dict[str, Any]:
    row = held.directive.row
    return {"held": held, "row": row, "state": _state(consent, held.directive)}


def _state(consent: Consent, directive: StandingDirective) -> str:
    """Return what a directive is now, as one word."""
    why_not = directive.as_fact().why_not_in_force(consent.clock.now())
    if why_not == "not-yet-effective":
        return "not-yet"
    return why_not or directive.standing


def _last_day(ends_at: datetime | None) -> datetime | None:
    return None if ends_at is None else last_day(ends_at)


def _names(
    consent: Consent, rows: list[DirectiveRow], scope: Scope | None = None, *more: str
) -> dict[str, str]:
    known = {row.received_by for row in rows} | {
        row.scope_code for row in rows if row.scope_kind == "organisation"
    }
    known |= {*more, *([scope.code] if scope is not None and scope.kind == "organisation" else [])}
    with consent.db.read() as tx:
        return names_of(tx, known)
