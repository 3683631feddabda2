"""The review queue over HTTP: tasks listed, claimed, decided and undone; ``If-Match`` keeps readers from each other's work."""

from datetime import datetime
from typing import Any

from flask_smorest import Blueprint

from foundation.errors import Invalid
from foundation.ids import parse_id
from foundation.web import (
    current_principal,
    etag,
    if_match,
    make_blueprint,
    read_cursor,
    requires,
    takes_if_match,
    write_cursor,
)
from mpi.service import review
from mpi.service.context import Mpi
from mpi.web.schemas import (
    DecideSchema,
    Loaded,
    NewCommentSchema,
    OutcomeSchema,
    TaskDetailSchema,
    TaskPageSchema,
    TaskQuery,
    TaskSchema,
    UndoSchema,
)


def make(mpi: Mpi) -> Blueprint:
    room = make_blueprint("tasks", "/api/v1/tasks", "Questions about identity that people answer")

    @room.route("", methods=["GET"])
    @room.arguments(TaskQuery, location="query")
    @room.response(200, TaskPageSchema)
    @requires("tasks:read")
    def list_tasks(query: Loaded) -> Any:
        """List tasks, worst kind first, then the oldest."""
        page = review.list_tasks(
            mpi,
            current_principal(),
            limit=query["limit"],
            after=_place(query["cursor"]),
            kind=query["kind"],
            states=(query["state"],),
        )
        token = None
        if page.next is not None:
            rank, opened_at, task_id = page.next
            token = write_cursor([rank, opened_at.isoformat(), str(task_id)])
        return {"tasks": page.tasks, "next": token}

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
        """Take a task for half an hour."""
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

    @room.route("/<task_id>/comments", methods=["POST"])
    @room.arguments(NewCommentSchema)
    @room.response(204)
    @requires("tasks:work")
    def comment(body: Loaded, task_id: str) -> Any:
        """Leave a comment on a task."""
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


def _place(token: str | None) -> review.Cursor | None:
    place = read_cursor(token, int, str, str)
    if place is None:
        return None
    try:
        opened_at = datetime.fromisoformat(place[1])
    except ValueError:
        raise Invalid("cursor-format", field="cursor") from None
    if opened_at.tzinfo is None:
        raise Invalid("cursor-format", field="cursor")
    return place[0], opened_at, parse_id(place[2], "cursor")
