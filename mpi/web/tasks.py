"""The review queue over HTTP: tasks listed, claimed, decided and undone; ``If-Match`` keeps readers from each other's work."""

from datetime import datetime, timedelta
from typing import Any

from flask_smorest import Blueprint

from foundation.errors import Invalid
from foundation.ids import parse_id
from foundation.web import (
    current_principal,
    etag,
    if_match,
    leave_evenly,
    make_blueprint,
    read_cursor,
    requires,
    takes_if_match,
    write_cursor,
)
from mpi.service import bulk_review, by_hand, figures, queue, review, views
from mpi.service.context import Mpi
from mpi.web.schemas import (
    AnswerEffectSchema,
    AnswerPreviewSchema,
    BulkDecideSchema,
    BulkEffectSchema,
    BulkOutcomeSchema,
    BulkPreviewSchema,
    ClaimedSchema,
    DecideSchema,
    DeferSchema,
    EscalateSchema,
    FiguresQuery,
    FiguresSchema,
    Loaded,
    NewCommentSchema,
    NewViewSchema,
    NextTaskAnswerSchema,
    NextTaskSchema,
    OutcomeSchema,
    QueueQuery,
    TaskCountsSchema,
    TaskDetailSchema,
    TaskFilterQuery,
    TaskGroupPageSchema,
    TaskPageSchema,
    TaskQuery,
    TaskSchema,
    UndoSchema,
    ViewSchema,
    ViewsSchema,
    WhetherOneSchema,
    WhetherTwoSchema,
)

_LARGEST = 2**31 - 1


def make(mpi: Mpi) -> Blueprint:
    room = make_blueprint("tasks", "/api/v1/tasks", "Questions about identity that people answer")
    leave_evenly(room, unless=review.SEES_PROTECTED)

    @room.route("", methods=["GET"])
    @room.arguments(TaskQuery, location="query")
    @room.response(200, TaskPageSchema)
    @requires("tasks:read")
    def list_tasks(query: Loaded) -> Any:
        """List tasks, worst kind first, then by the harm to expect, then the oldest; or sorted otherwise.

        `open` leaves out what is put off until later, which is `deferred`. Tasks about restricted people are there only for callers with
        the scope `restricted:read`.
        """
        page = review.list_tasks(
            mpi,
            current_principal(),
            limit=query["limit"],
            after=read_place(query["cursor"]),
            sort=query["sort"],
            **_chosen(query),
        )
        return {"tasks": page.tasks, "next": write_place(page.next)}

    @room.route("/counts", methods=["GET"])
    @room.arguments(TaskFilterQuery, location="query")
    @room.response(200, TaskCountsSchema)
    @requires("tasks:read")
    def count_tasks(query: Loaded) -> Any:
        """Count the tasks of a list, by kind; the filters are those of the list."""
        by_kind = review.count_tasks(mpi, current_principal(), **_chosen(query))
        return {"total": sum(by_kind.values()), "by_kind": by_kind}

    @room.route("/next", methods=["POST"])
    @room.arguments(NextTaskSchema)
    @room.response(200, NextTaskAnswerSchema)
    @requires("tasks:work")
    def take_next(body: Loaded) -> Any:
        """Claim the worst task that is free."""
        task = queue.next_task(
            mpi,
            current_principal(),
            kind=body["kind"],
            for_whom=body["for_whom"] or _begins(body["restricted"]),
            only_protected=body["restricted"],
        )
        headers = {"ETag": etag(task.version)} if task is not None else {}
        return {"task": task}, 200, headers

    @room.route("/whether-one", methods=["POST"])
    @room.arguments(WhetherOneSchema)
    @room.response(201, TaskSchema)
    @requires("tasks:work")
    def ask_whether_one(body: Loaded) -> Any:
        """Ask whether two persons are one. Until it is answered an objection of either binds both; *same* needs two readers."""
        one, other = body["persons"]
        task = by_hand.ask_whether_one(mpi, one, other, current_principal(), comment=body["comment"])
        return task, 201, {"ETag": etag(task.version)}

    @room.route("/whether-two", methods=["POST"])
    @room.arguments(WhetherTwoSchema)
    @room.response(201, TaskSchema)
    @requires("tasks:work")
    def ask_whether_two(body: Loaded) -> Any:
        """Ask whether some records of a person are somebody else's. Nothing changes until it is answered; *different* needs two readers."""
        task = by_hand.ask_whether_two(
            mpi, body["person"], body["records"], current_principal(), comment=body["comment"]
        )
        return task, 201, {"ETag": etag(task.version)}

    @room.route("/<task_id>/withdraw", methods=["POST"])
    @room.response(200, TaskSchema)
    @requires("tasks:work")
    @takes_if_match
    def withdraw(task_id: str) -> Any:
        """Take a question back that was asked by hand and that nobody has begun to answer."""
        task = by_hand.withdraw_question(
            mpi, parse_id(task_id, "task_id"), current_principal(), if_match=if_match()
        )
        return task, 200, {"ETag": etag(task.version)}

    @room.route("/<task_id>/preview", methods=["POST"])
    @room.arguments(AnswerPreviewSchema)
    @room.response(200, AnswerEffectSchema)
    @requires("tasks:work")
    def preview_one(body: Loaded, task_id: str) -> Any:
        """Say which persons an answer would make one, and which several. Nothing is changed yet."""
        return bulk_review.preview_answer(
            mpi, parse_id(task_id, "task_id"), current_principal(), verdict=body["verdict"]
        )

    @room.route("/metrics", methods=["GET"])
    @room.arguments(FiguresQuery, location="query")
    @room.response(200, FiguresSchema)
    @requires("tasks:read")
    def read_metrics(query: Loaded) -> Any:
        """Return what waits, what was done, what it changed, and how well readers agree."""
        return figures.read_figures(mpi, current_principal(), days=query["days"])

    @room.route("/bulk-preview", methods=["POST"])
    @room.arguments(BulkPreviewSchema)
    @room.response(200, BulkEffectSchema)
    @requires("tasks:work")
    def preview(body: Loaded) -> Any:
        """Say what one answer to several tasks would change. Nothing is changed yet."""
        return bulk_review.preview_bulk(
            mpi,
            current_principal(),
            verdict=body["verdict"],
            reason=body["reason"],
            comment=body.get("comment"),
            task_ids=body["task_ids"],
            kind=body["kind"],
            for_whom=body["for_whom"] or review.begins_with(current_principal()),
            limit=body["limit"],
        )

    @room.route("/bulk-decide", methods=["POST"])
    @room.arguments(BulkDecideSchema)
    @room.response(200, BulkOutcomeSchema)
    @requires("tasks:work")
    def decide_several(body: Loaded) -> Any:
        """Answer several tasks as a preview showed it; 409 where something changed since. What fails is told task by task."""
        return bulk_review.decide_bulk(
            mpi,
            current_principal(),
            body["task_ids"],
            verdict=body["verdict"],
            reason=body["reason"],
            comment=body.get("comment"),
            token=body["token"],
            checked=body["checked"],
        )

    @room.route("/bulk/<bulk_id>", methods=["GET"])
    @room.response(200, BulkOutcomeSchema)
    @requires("tasks:read")
    def read_several(bulk_id: str) -> Any:
        """Return what came of an answer to several tasks."""
        return bulk_review.read_bulk(mpi, parse_id(bulk_id, "bulk_id"))

    @room.route("/bulk/<bulk_id>/undo", methods=["POST"])
    @room.arguments(UndoSchema)
    @room.response(200, BulkOutcomeSchema)
    @requires("tasks:work")
    def undo_several(body: Loaded, bulk_id: str) -> Any:
        """Take back all that one answer to several tasks decided."""
        number = parse_id(bulk_id, "bulk_id")
        return bulk_review.undo_bulk(mpi, number, current_principal(), comment=body.get("comment"))

    @room.route("/<task_id>", methods=["GET"])
    @room.response(200, TaskDetailSchema)
    @requires("tasks:read")
    def read_task(task_id: str) -> Any:
        """Return a task with its sides, its evidence field by field, comments and decisions."""
        found = review.get_task(mpi, parse_id(task_id, "task_id"), current_principal())
        return found, 200, {"ETag": etag(found.task.version)}

    @room.route("/<task_id>/claim", methods=["POST"])
    @room.response(200, TaskSchema)
    @requires("tasks:work")
    @takes_if_match
    def claim(task_id: str) -> Any:
        """Take a task for half an hour; who holds it renews the half hour."""
        task = review.claim_task(mpi, parse_id(task_id, "task_id"), current_principal(), if_match=if_match())
        return task, 200, {"ETag": etag(task.version)}

    @room.route("/<task_id>/release", methods=["POST"])
    @room.response(200, TaskSchema)
    @requires("tasks:work")
    @takes_if_match
    def release(task_id: str) -> Any:
        """Give a claimed task back."""
        task = review.release_task(
            mpi, parse_id(task_id, "task_id"), current_principal(), if_match=if_match()
        )
        return task, 200, {"ETag": etag(task.version)}

    @room.route("/<task_id>/defer", methods=["POST"])
    @room.arguments(DeferSchema)
    @room.response(200, TaskSchema)
    @requires("tasks:work")
    @takes_if_match
    def defer(body: Loaded, task_id: str) -> Any:
        """Put a task off until later; new evidence brings it back sooner."""
        task = queue.defer_task(
            mpi,
            parse_id(task_id, "task_id"),
            current_principal(),
            until=body["until"],
            reason=body["reason"],
            comment=body.get("comment"),
            if_match=if_match(),
        )
        return task, 200, {"ETag": etag(task.version)}

    @room.route("/<task_id>/resume", methods=["POST"])
    @room.response(200, TaskSchema)
    @requires("tasks:work")
    @takes_if_match
    def resume(task_id: str) -> Any:
        """Take a deferral back."""
        task = queue.resume_task(mpi, parse_id(task_id, "task_id"), current_principal(), if_match=if_match())
        return task, 200, {"ETag": etag(task.version)}

    @room.route("/<task_id>/escalate", methods=["POST"])
    @room.arguments(EscalateSchema)
    @room.response(200, TaskSchema)
    @requires("tasks:work")
    @takes_if_match
    def escalate(body: Loaded, task_id: str) -> Any:
        """Hand a task on to the regional team or a privacy officer."""
        task = queue.escalate_task(
            mpi,
            parse_id(task_id, "task_id"),
            current_principal(),
            to=body["to"],
            reason=body["reason"],
            comment=body.get("comment"),
            if_match=if_match(),
        )
        return task, 200, {"ETag": etag(task.version)}

    @room.route("/<task_id>/give-back", methods=["POST"])
    @room.arguments(UndoSchema)
    @room.response(200, TaskSchema)
    @requires("tasks:read")
    @takes_if_match
    def give_back(body: Loaded, task_id: str) -> Any:
        """Take an escalation back. Needs `tasks:work` too, or `tasks:advise` for what was handed on to a privacy officer."""
        task = queue.give_back_task(
            mpi,
            parse_id(task_id, "task_id"),
            current_principal(),
            comment=body.get("comment"),
            if_match=if_match(),
        )
        return task, 200, {"ETag": etag(task.version)}

    @room.route("/<task_id>/comments", methods=["POST"])
    @room.arguments(NewCommentSchema)
    @room.response(204)
    @requires("tasks:read")
    def comment(body: Loaded, task_id: str) -> Any:
        """Leave a comment on a task. Needs `tasks:work` too, or `tasks:advise` for what was handed on to a privacy officer."""
        review.comment_task(mpi, parse_id(task_id, "task_id"), current_principal(), body["comment"])

    @room.route("/<task_id>/decide", methods=["POST"])
    @room.arguments(DecideSchema)
    @room.response(200, OutcomeSchema)
    @requires("tasks:work")
    @takes_if_match
    def decide(body: Loaded, task_id: str) -> Any:
        """Answer a task: same, different, or not enough to say."""
        outcome = review.decide_task(
            mpi,
            parse_id(task_id, "task_id"),
            current_principal(),
            verdict=body["verdict"],
            reason=body["reason"],
            comment=body.get("comment"),
            if_match=if_match(),
        )
        return outcome, 200, {"ETag": etag(outcome.task.version)}

    @room.route("/<task_id>/undo", methods=["POST"])
    @room.arguments(UndoSchema)
    @room.response(200, OutcomeSchema)
    @requires("tasks:work")
    @takes_if_match
    def undo(body: Loaded, task_id: str) -> Any:
        """Take back the decision on a task; what stood without it stands again."""
        outcome = review.undo_decision(
            mpi,
            parse_id(task_id, "task_id"),
            current_principal(),
            comment=body.get("comment"),
            if_match=if_match(),
        )
        return outcome, 200, {"ETag": etag(outcome.task.version)}

    return room


def make_groups(mpi: Mpi) -> Blueprint:
    room = make_blueprint("task-groups", "/api/v1/task-groups", "The review queue by person")
    leave_evenly(room, unless=review.SEES_PROTECTED)

    @room.route("", methods=["GET"])
    @room.arguments(QueueQuery, location="query")
    @room.response(200, TaskGroupPageSchema)
    @requires("tasks:read")
    def list_groups(query: Loaded) -> Any:
        """List open tasks that share a person together, each group where its first task stands in the queue."""
        page = queue.list_groups(
            mpi,
            current_principal(),
            limit=query["limit"],
            after=read_place(query["cursor"]),
            kind=query["kind"],
            for_whom=query["for_whom"] or review.begins_with(current_principal()),
        )
        return {"groups": page.groups, "next": write_place(page.next)}

    @room.route("/<task_id>/claim", methods=["POST"])
    @room.response(200, ClaimedSchema)
    @requires("tasks:work")
    def claim(task_id: str) -> Any:
        """Take all open tasks of a task's group, but for those that others hold."""
        return queue.claim_group(mpi, parse_id(task_id, "task_id"), current_principal())

    return room


def _chosen(query: Loaded) -> dict[str, Any]:
    days = query["older_than_days"]
    return {
        "kind": query["kind"],
        "view": query["state"],
        "for_whom": query["for_whom"] or _begins(query["restricted"]),
        "only_protected": query["restricted"],
        "only_mine": query["mine"],
        "older_than": None if days is None else timedelta(days=days),
    }


def make_views(mpi: Mpi) -> Blueprint:
    room = make_blueprint(
        "task-views", "/api/v1/task-views", "What a reader chose of the review queue, kept under a name"
    )

    @room.route("", methods=["GET"])
    @room.response(200, ViewsSchema)
    @requires("tasks:read")
    def list_views() -> Any:
        """List the caller's own views."""
        return {"views": views.list_views(mpi, current_principal())}

    @room.route("", methods=["POST"])
    @room.arguments(NewViewSchema)
    @room.response(201, ViewSchema)
    @requires("tasks:read")
    def keep_view(body: Loaded) -> Any:
        """Keep what the caller chose of the queue, under a name."""
        return views.keep_view(mpi, current_principal(), body["name"], body["chosen"])

    @room.route("/<view_id>", methods=["DELETE"])
    @room.response(204)
    @requires("tasks:read")
    def drop_view(view_id: str) -> Any:
        """Forget a view of the caller's own."""
        views.drop_view(mpi, current_principal(), parse_id(view_id, "view_id"))

    return room


def _begins(only_restricted: bool) -> str:
    # Of tasks about restricted people there are few: whoever asks for them asks for all.
    return review.EVERYTHING if only_restricted else review.begins_with(current_principal())


def write_place(place: review.Cursor | None) -> str | None:
    if place is None:
        return None
    rank, harm, opened_at, task_id = place
    return write_cursor([rank, harm, opened_at.isoformat(), str(task_id)])


def read_place(token: str | None) -> review.Cursor | None:
    place = read_cursor(token, int, int, str, str)
    if place is None:
        return None
    try:
        opened_at = datetime.fromisoformat(place[2])
    except ValueError:
        raise Invalid("cursor-format", field="cursor") from None
    if opened_at.tzinfo is None or not all(0 <= part <= _LARGEST for part in place[:2]):
        raise Invalid("cursor-format", field="cursor")
    return place[0], place[1], opened_at, parse_id(place[3], "cursor")
