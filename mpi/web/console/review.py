"""One task, read and answered: its records side by side, what an answer would change, the lease, and the way on to the next task."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any, cast

from flask import Blueprint, make_response, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from foundation.errors import Conflict, Invalid
from foundation.ids import format_id, parse_id
from foundation.principal import Principal
from foundation.web import current_principal, requires
from foundation.web.pages import (
    LOCAL,
    Fault,
    Listing,
    fault_of,
    go,
    moved_on_page,
    read_day,
    whole_number,
    write_day,
    write_moment,
)
from mpi.matching.harm import PRIVACY_OFFICER
from mpi.matching.questions import Kind
from mpi.service import by_hand, queue, review
from mpi.service.bulk_review import Effect, preview_answer
from mpi.service.context import Mpi
from mpi.service.desk import Bench, read_bench
from mpi.web.console import words
from mpi.web.console.compare import heads_of, map_of, rows_of, write_address, write_name
from mpi.web.console.queue import before_of, go_on, within_form

Page = str | Response


def make(mpi: Mpi) -> Blueprint:
    room = Blueprint("mpi-review", __name__)

    @room.get("/tasks/<task_id>")
    @requires("tasks:read")
    def show_task(task_id: str) -> Page:
        return task_page(mpi, parse_id(task_id, "task_id"), current_principal())

    @room.get("/tasks/<task_id>/same")
    @requires("tasks:work")
    def show_same(task_id: str) -> Page:
        return same_page(mpi, parse_id(task_id, "task_id"), current_principal())

    @room.post("/tasks/<task_id>/claim")
    @requires("tasks:work")
    def claim(task_id: str) -> Page:
        def act(number: int, by: Principal) -> Response:
            review.claim_task(mpi, number, by, if_match=_version())
            return go(_here(number, by), "task-claimed")

        return _taken(mpi, task_id, act)

    @room.post("/tasks/<task_id>/release")
    @requires("tasks:work")
    def release(task_id: str) -> Page:
        def act(number: int, by: Principal) -> Response:
            review.release_task(mpi, number, by, if_match=_version())
            return go(Listing("/tasks", within_form(by)).url(), "task-released")

        return _taken(mpi, task_id, act)

    @room.post("/tasks/<task_id>/decide")
    @requires("tasks:work")
    def decide(task_id: str) -> Page:
        verdict = request.form.get("verdict", "")

        def act(number: int, by: Principal) -> Response:
            outcome = review.decide_task(
                mpi,
                number,
                by,
                verdict=cast(review.Verdict, verdict),  # one that is none is refused
                reason=request.form.get("reason", ""),
                comment=_comment(),
                if_match=_version(),
            )
            said = f"task-{outcome.outcome}"
            if request.form.get("then") == "stay":
                return go(_here(number, by), said)
            before = f"{format_id(number)}.{format_id(outcome.decision_id)}"
            return go_on(mpi, by, said, before)

        again = same_page if verdict == "same" else task_page
        return _taken(mpi, task_id, act, again)

    @room.post("/tasks/<task_id>/undo")
    @requires("tasks:work")
    def undo(task_id: str) -> Page:
        def act(number: int, by: Principal) -> Response:
            decision = request.form.get("decision_id")
            review.undo_decision(
                mpi,
                number,
                by,
                comment=_comment(),
                if_match=_version(),
                decision_id=parse_id(decision, "decision_id") if decision else None,
            )
            return go(_here(number, by), "task-undone")

        return _taken(mpi, task_id, act)

    @room.post("/tasks/<task_id>/comments")
    @requires("tasks:read")
    def comment(task_id: str) -> Page:
        def act(number: int, by: Principal) -> Response:
            review.comment_task(mpi, number, by, request.form.get("comment", ""))
            return go(_here(number, by), "task-commented")

        return _taken(mpi, task_id, act)

    @room.post("/tasks/<task_id>/escalate")
    @requires("tasks:work")
    def escalate(task_id: str) -> Page:
        def act(number: int, by: Principal) -> Response:
            queue.escalate_task(
                mpi,
                number,
                by,
                to=request.form.get("to", ""),
                reason=request.form.get("reason", ""),
                comment=_comment(),
                if_match=_version(),
            )
            return go_on(mpi, by, "task-escalated")

        return _taken(mpi, task_id, act)

    @room.post("/tasks/<task_id>/give-back")
    @requires("tasks:read")
    def give_back(task_id: str) -> Page:
        def act(number: int, by: Principal) -> Response:
            queue.give_back_task(mpi, number, by, comment=_comment(), if_match=_version())
            return go(_here(number, by), "task-given-back")

        return _taken(mpi, task_id, act)

    @room.post("/tasks/<task_id>/defer")
    @requires("tasks:work")
    def defer(task_id: str) -> Page:
        def act(number: int, by: Principal) -> Response:
            queue.defer_task(
                mpi,
                number,
                by,
                until=_until(),
                reason=request.form.get("reason", ""),
                comment=_comment(),
                if_match=_version(),
            )
            return go_on(mpi, by, "task-deferred")

        return _taken(mpi, task_id, act)

    @room.post("/tasks/<task_id>/resume")
    @requires("tasks:work")
    def resume(task_id: str) -> Page:
        def act(number: int, by: Principal) -> Response:
            queue.resume_task(mpi, number, by, if_match=_version())
            return go(_here(number, by), "task-resumed")

        return _taken(mpi, task_id, act)

    @room.post("/tasks/<task_id>/withdraw")
    @requires("tasks:work")
    def withdraw(task_id: str) -> Page:
        def act(number: int, by: Principal) -> Response:
            by_hand.withdraw_question(mpi, number, by, if_match=_version())
            return go(_here(number, by), "question-withdrawn")

        return _taken(mpi, task_id, act)

    return room


# Pages -----------------------------------------------------------------------------------------------------------------


def task_page(
    mpi: Mpi,
    task_id: int,
    by: Principal,
    faults: Sequence[Fault] = (),
    form: MultiDict[str, str] | None = None,
) -> str:
    """Show a task with all that a reader needs; with faults, beside what was typed."""
    bench = read_bench(mpi, task_id, by)
    shown = _shown(mpi, bench, by)
    effects = _effects(mpi, bench, by) if shown["may_decide"] else []
    return render_template(
        "mpi/task.html",
        **shown,
        rows=rows_of(bench),
        heads=heads_of(bench),
        map=map_of(bench),
        effects=effects,
        undo=before_of(),
        faults=faults,
        form=form or MultiDict(),
        until_faults=[one for one in faults if one.field.endswith("until-day")],
        in_a_week=write_day(mpi.clock.now() + timedelta(days=7)),
        write_name=write_name,
        write_address=write_address,
    )


def same_page(
    mpi: Mpi,
    task_id: int,
    by: Principal,
    faults: Sequence[Fault] = (),
    form: MultiDict[str, str] | None = None,
) -> Page:
    """Ask for the reason of a *same*, and show what it will change."""
    bench = read_bench(mpi, task_id, by)
    shown = _shown(mpi, bench, by)
    if not shown["may_decide"]:
        return go(_here(task_id, by))
    return render_template(
        "mpi/same.html",
        **shown,
        heads=heads_of(bench),
        rows=[row for row in rows_of(bench) if row.mark in ("close", "differ")],
        effect=_effect(mpi, bench, by, "same"),
        faults=faults,
        form=form or MultiDict(),
    )


def _shown(mpi: Mpi, bench: Bench, by: Principal) -> dict[str, Any]:
    """Return what both pages of a task say of it."""
    task, detail, now = bench.detail.task, bench.detail, mpi.clock.now()
    is_mine = task.claimed_by == by.id
    is_first = any(one.state == "proposed" and one.decided_by == by.id for one in detail.decisions)
    is_free = task.state == "open" and task.claimed_by in (None, by.id)
    may_work = "tasks:work" in by.scopes
    is_update = task.kind == Kind.OVERLAY.value
    live = [one for one in detail.decisions if one.state in ("standing", "proposed")]
    return {
        "bench": bench,
        "detail": detail,
        "task": task,
        "now": now,
        "words": words,
        "verdicts": words.OF_UPDATES if is_update else words.VERDICTS,
        "answers": review.answers_to(task),
        "is_mine": is_mine,
        "is_first": is_first,
        "may_work": may_work,
        "may_decide": may_work and is_free and not is_first,
        "may_act": may_work and is_free,
        "may_advise": "tasks:advise" in by.scopes and task.escalated_to == PRIVACY_OFFICER,
        "seconds_left": max(0, int((task.claimed_until - now).total_seconds())) if task.claimed_until else 0,
        "live": live[-1] if live else None,
        "within": within_form(by),
        "is_update": is_update,
        "name_of": lambda reader: bench.readers.get(reader, reader),
        "may_withdraw": may_work and task.kind == Kind.ASKED.value and is_free and not live,
        "format_id": format_id,
    }


def _effects(mpi: Mpi, bench: Bench, by: Principal) -> list[tuple[str, list[str]]]:
    """Return for each answer what it would change, in sentences."""
    return [(verdict, _effect(mpi, bench, by, verdict)) for verdict in review.answers_to(bench.detail.task)]


def _effect(mpi: Mpi, bench: Bench, by: Principal, verdict: review.Verdict) -> list[str]:
    task = bench.detail.task
    if task.kind == Kind.OVERLAY.value:
        return [
            {
                "same": "The update stands: the record says from now on what the update says.",
                "different": "The update is set aside, and the record stays as it is. The organisation that sent it is told.",
            }[verdict]
        ]
    try:
        effect = preview_answer(mpi, task.task_id, by, verdict=verdict)
    except Conflict as refusal:
        return [words.MOVED_ON.get(refusal.code, "What it would change cannot be told now") + "."]
    return sentences_of(effect, verdict, needs_second=effect.needs_second_reader)


def sentences_of(effect: Effect, verdict: str, *, needs_second: bool) -> list[str]:
    """Say what an answer would change."""
    found = []
    for group in effect.merged:
        found.append(f"{len(group)} people become one: their records are shown together from then on.")
    if effect.split:
        found.append(
            "One person becomes several."
            if len(effect.split) == 1
            else f"{len(effect.split)} people become several each."
        )
    if not found:
        found.append(
            {
                "same": "Nobody becomes another person: the records stay together.",
                "different": "Nobody becomes another person: the records are kept apart for good.",
                "not-enough": "Nothing changes. It is asked again only with new evidence.",
            }[verdict]
        )
    if verdict == "different" and found and (effect.merged or effect.split):
        found.append("Their records are kept apart for good.")
    if needs_second:
        found.append("A second reader must say so too before anything changes.")
    return found


# Taking forms ------------------------------------------------------------------------------------------------------------

_INPUTS = ("until", "to", "comment", "reason")

Again = Callable[[Mpi, int, Principal, Sequence[Fault], MultiDict[str, str]], Page]


def _taken(
    mpi: Mpi, task_id: str, act: Callable[[int, Principal], Response], again: Again = task_page
) -> Page:
    """Do what a form asks; show it again with its faults, or say what happened since its page was opened."""
    number, by = parse_id(task_id, "task_id"), current_principal()
    try:
        return act(number, by)
    except Invalid as fault:
        if fault.field not in {*_INPUTS, "verdict"}:
            raise
        panel = request.form.get("panel", "")
        fields = {name: f"{panel}{name}" for name in _INPUTS} | {"until": "until-day"}
        found = fault_of(fault, words.FAULTS, fields)
        return make_response(again(mpi, number, by, [found], request.form), 422)
    except Conflict as refusal:
        return _moved_on(mpi, number, by, refusal)


def _moved_on(mpi: Mpi, task_id: int, by: Principal, refusal: Conflict) -> Response:
    bench = read_bench(mpi, task_id, by)
    task = bench.detail.task
    since = []
    last = bench.detail.decisions[-1] if bench.detail.decisions else None
    if last is not None and last.undone_at is not None:
        since.append((write_moment(last.undone_at), "A decision was taken back"))
    elif last is not None:
        verdict = words.VERDICTS.get(last.verdict, last.verdict).lower()
        by_whom = "you" if last.decided_by == by.id else bench.readers.get(last.decided_by, last.decided_by)
        since.append((write_moment(last.decided_at), f"Answered “{verdict}” by {by_whom}"))
    if task.claimed_by is not None and task.claimed_until is not None:
        holder = "you" if task.claimed_by == by.id else bench.readers.get(task.claimed_by, task.claimed_by)
        since.append((f"Until {write_moment(task.claimed_until)}", f"Held by {holder}"))
    since.append(
        (write_moment(task.changed_at), f"Last changed; it is now: {words.STATES[task.state].lower()}")
    )
    verdict = words.VERDICTS.get(request.form.get("verdict", ""), "")
    reason = words.REASONS.get(request.form.get("reason", ""), "")
    return moved_on_page(
        words.MOVED_ON.get(refusal.code, "This task changed while you had it open"),
        ["Nothing of yours was saved, and nothing was decided twice."],
        since=since,
        kept=[
            ("Your answer", ": ".join(part for part in (verdict, reason) if part)),
            ("Your comment", request.form.get("comment", "")),
        ],
        back=_here(task_id, by),
    )


def _here(task_id: int, by: Principal) -> str:
    return Listing(f"/tasks/{format_id(task_id)}", within_form(by)).url()


def _version() -> int | None:
    return whole_number(request.form.get("version"))


def _comment() -> str | None:
    text = request.form.get("comment", "").replace("\r\n", "\n").strip()
    return text or None


def _until() -> datetime:
    """Read the day until which a task is put off: the morning of it, London time."""
    text = read_day(request.form, "until")
    try:
        day = datetime.strptime(text or "", "%Y-%m-%d").date()  # noqa: DTZ007 - a civil day
    except ValueError:
        raise Invalid("until-range", field="until") from None
    return datetime.combine(day, time(8), LOCAL).astimezone(UTC)
