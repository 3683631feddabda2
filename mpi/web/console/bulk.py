"""One answer to many tasks: what it would change, a sample that its reader must look at, the answer, and taking all of it back."""

from flask import Blueprint, make_response, render_template, request
from werkzeug.wrappers import Response

from foundation.errors import Conflict, Invalid
from foundation.ids import format_id, parse_id
from foundation.principal import Principal
from foundation.web import current_principal, requires
from foundation.web.pages import Fault, fault_of, go, moved_on_page
from mpi.service import bulk_review, review
from mpi.service.context import Mpi
from mpi.service.desk import Bench, read_bench
from mpi.web.console import words
from mpi.web.console.compare import heads_of, rows_of

AT_ONCE = (20, 50, 100, 200)
_KINDS = tuple(bulk_review.SAFE)
_WORDS = {
    **words.FAULTS,
    "task-kind-unknown": "Choose a type",
    "tasks-missing": "There is no task of this type to answer",
    "sample-unread": "Look at each of these tasks, and say that the answer fits it. If it does not, leave them all",
}

Page = str | Response


def make(mpi: Mpi) -> Blueprint:
    room = Blueprint("mpi-bulk", __name__)

    @room.get("/tasks/bulk")
    @requires("tasks:work")
    def choose() -> str:
        return _choose_page(())

    @room.post("/tasks/bulk/preview")
    @requires("tasks:work")
    def preview() -> Page:
        by, form = current_principal(), request.form
        limit = form.get("limit", "")
        try:
            if form.get("kind") not in _KINDS:
                raise Invalid("task-kind-unknown", field="kind")
            seen = bulk_review.preview_bulk(
                mpi,
                by,
                verdict=_verdict(),
                reason=form.get("reason", ""),
                comment=_comment(),
                kind=form.get("kind"),
                for_whom=review.begins_with(by),
                limit=int(limit) if limit in map(str, AT_ONCE) else AT_ONCE[0],
            )
        except Invalid as fault:
            return make_response(_choose_page((_fault(fault),)), 422)
        return _preview_page(mpi, by, seen)

    @room.post("/tasks/bulk/decide")
    @requires("tasks:work")
    def decide() -> Page:
        by, form = current_principal(), request.form
        task_ids = [parse_id(one, "tasks") for one in form.getlist("tasks")]
        verdict, reason, comment = _verdict(), form.get("reason", ""), _comment()
        try:
            outcome = bulk_review.decide_bulk(
                mpi,
                by,
                task_ids,
                verdict=verdict,
                reason=reason,
                comment=comment,
                token=form.get("token", ""),
                checked=[parse_id(one, "checked") for one in form.getlist("checked")],
            )
        except Invalid as fault:
            seen = bulk_review.preview_bulk(
                mpi, by, verdict=verdict, reason=reason, comment=comment, task_ids=task_ids
            )
            return make_response(_preview_page(mpi, by, seen, (_fault(fault),)), 422)
        except Conflict as refusal:
            return moved_on_page(
                words.MOVED_ON.get(refusal.code, "Something changed since the preview"),
                ["No task was answered. Look at what the answer would change now."],
                kept=[("Your comment", form.get("comment", ""))],
                back="/tasks/bulk",
            )
        return go(f"/tasks/bulk/{format_id(outcome.bulk_id)}", "bulk-decided")

    @room.get("/tasks/bulk/<bulk_id>")
    @requires("tasks:read")
    def show(bulk_id: str) -> str:
        outcome = bulk_review.read_bulk(mpi, parse_id(bulk_id, "bulk_id"))
        return _outcome_page(outcome)

    @room.post("/tasks/bulk/<bulk_id>/undo")
    @requires("tasks:work")
    def undo(bulk_id: str) -> Page:
        number = parse_id(bulk_id, "bulk_id")
        try:
            outcome = bulk_review.undo_bulk(mpi, number, current_principal(), comment=_comment())
        except Conflict as refusal:
            return moved_on_page(
                words.MOVED_ON.get(refusal.code, "This changed meanwhile"),
                ["Nothing was changed."],
                back=f"/tasks/bulk/{format_id(number)}",
            )
        return _outcome_page(outcome, is_undone=True)

    return room


def _choose_page(faults: tuple[Fault, ...]) -> str:
    return render_template(
        "mpi/bulk.html",
        faults=faults,
        form=request.form,
        kinds=words.pairs(words.KINDS, *_KINDS),
        verdicts=words.pairs(words.VERDICTS),
        reasons=words.pairs(words.REASONS),
        limits=[(str(one), f"Up to {one}") for one in AT_ONCE],
    )


def _preview_page(mpi: Mpi, by: Principal, seen: bulk_review.Preview, faults: tuple[Fault, ...] = ()) -> str:
    benches: list[Bench] = [read_bench(mpi, number, by) for number in seen.sample]
    refused: dict[str, int] = {}
    for one in seen.refused:
        refused[one.code] = refused.get(one.code, 0) + 1
    return render_template(
        "mpi/bulk_preview.html",
        seen=seen,
        sample=[(format_id(bench.detail.task.task_id), heads_of(bench), rows_of(bench)) for bench in benches],
        refused=[(words.REFUSALS.get(code, code), count) for code, count in sorted(refused.items())],
        faults=faults,
        form=request.form,
        verdict_words=words.VERDICTS.get(request.form.get("verdict", ""), ""),
        reason_words=words.REASONS.get(request.form.get("reason", ""), ""),
        merged_people=sum(len(group) for group in seen.merged),
    )


def _outcome_page(outcome: bulk_review.BulkOutcome, *, is_undone: bool = False) -> str:
    return render_template(
        "mpi/bulk_outcome.html",
        outcome=outcome,
        bulk_id=format_id(outcome.bulk_id),
        is_undone=is_undone or outcome.undone_at is not None,
        refusals={**words.REFUSALS, **words.MOVED_ON},
    )


def _verdict() -> review.Verdict:
    text = request.form.get("verdict", "")
    for one in review.VERDICTS:
        if one == text:
            return one
    raise Invalid("verdict-unknown", field="verdict")


def _comment() -> str | None:
    return request.form.get("comment", "").replace("\r\n", "\n").strip() or None


def _fault(fault: Invalid) -> Fault:
    return fault_of(fault, _WORDS, {"task_ids": "kind"})
