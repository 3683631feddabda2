"""Withdrawal over HTTP: a record or a whole feed taken out of the index, what that would change, and the way back."""

from typing import Any

from flask_smorest import Blueprint

from foundation.ids import parse_id
from foundation.web import (
    PageQuery,
    current_principal,
    if_match,
    make_blueprint,
    make_page,
    page_schema,
    read_cursor,
    requires,
    takes_if_match,
)
from mpi.records import RecordKey
from mpi.service import withdraw
from mpi.service.context import Mpi
from mpi.web.schemas import (
    FeedKeySchema,
    FeedPreviewSchema,
    FeedSchema,
    FeedsSchema,
    Loaded,
    NewFeedWithdrawalSchema,
    NewWithdrawalSchema,
    OutSchema,
    RecordKeySchema,
    RestoredSchema,
    WithdrawalSchema,
    WithdrawnSchema,
)


def make(mpi: Mpi) -> Blueprint:
    room = make_blueprint(
        "withdrawals",
        "/api/v1/withdrawals",
        "Source records that are taken out of the index, and brought back",
    )

    @room.route("", methods=["POST"])
    @room.arguments(NewWithdrawalSchema)
    @room.response(201, WithdrawnSchema)
    @requires(withdraw.SCOPE)
    @takes_if_match
    def withdraw_record(body: Loaded) -> Any:
        """Take a record of one's own organisation out of the index; it keeps all that was sent and decided of it, and can be restored.

        It is nobody's from then on, and what its source sends of it is kept with it. An objection that hung on it is handed on.
        """
        out = withdraw.withdraw_record(
            mpi,
            _key(body),
            current_principal(),
            reason=body["reason"],
            comment=body["comment"],
            if_match=if_match(),
        )
        return {**_told(out), "withdrawal": out.withdrawals[0]}, 201

    @room.route("/preview", methods=["POST"])
    @room.arguments(RecordKeySchema)
    @room.response(200, OutSchema)
    @requires(withdraw.SCOPE)
    def preview(body: Loaded) -> Any:
        """Say what withdrawing a record would change, and change nothing."""
        return _told(withdraw.preview_withdrawal(mpi, _key(body), current_principal()))

    @room.route("", methods=["GET"])
    @room.arguments(PageQuery, location="query")
    @room.response(200, page_schema(WithdrawalSchema))
    @requires(withdraw.SCOPE)
    def list_withdrawals(query: Loaded) -> Any:
        """List the withdrawals that stand, the newest first."""
        place = read_cursor(query["cursor"], int)
        below = place[0] if place else None
        found = withdraw.list_withdrawals(mpi, current_principal(), below=below, limit=query["limit"] + 1)
        return make_page(found, query["limit"], lambda one: [one.withdrawal_id])

    @room.route("/<withdrawal_id>/restore", methods=["POST"])
    @room.response(200, RestoredSchema)
    @requires(withdraw.SCOPE)
    def restore(withdrawal_id: str) -> Any:
        """Bring a record back: it is linked as if it had just come, with all that was sent of it meanwhile."""
        by = current_principal()
        found = withdraw.get_withdrawal(mpi, parse_id(withdrawal_id, "withdrawal_id"), by)
        return withdraw.restore_record(mpi, found.record_id, by)

    @room.route("/feeds", methods=["POST"])
    @room.arguments(NewFeedWithdrawalSchema)
    @room.response(202, FeedSchema)
    @requires(withdraw.SCOPE)
    def withdraw_feed(body: Loaded) -> Any:
        """Withdraw all that one's organisation sent, or one of its systems. A worker takes its records out one after the other.

        What the feed sends while it is withdrawn is kept, and comes back with the rest.
        """
        return withdraw.withdraw_feed(
            mpi,
            body["organisation"],
            body["system"],
            current_principal(),
            reason=body["reason"],
            comment=body["comment"],
        )

    @room.route("/feeds/preview", methods=["POST"])
    @room.arguments(FeedKeySchema)
    @room.response(200, FeedPreviewSchema)
    @requires(withdraw.SCOPE)
    def preview_feed(body: Loaded) -> Any:
        """Count the records that withdrawing a feed would take out, and the persons who have one of them."""
        return withdraw.preview_feed(mpi, body["organisation"], body["system"], current_principal())

    @room.route("/feeds", methods=["GET"])
    @room.response(200, FeedsSchema)
    @requires(withdraw.SCOPE)
    def list_feeds() -> Any:
        """List the feeds that were ever withdrawn, the newest first, with how many records have yet to follow."""
        return {"feeds": withdraw.list_feeds(mpi, current_principal())}

    @room.route("/feeds/<feed_id>/restore", methods=["POST"])
    @room.response(202, FeedSchema)
    @requires(withdraw.SCOPE)
    def restore_feed(feed_id: str) -> Any:
        """Take the withdrawal of a feed back; a worker brings its records back one after the other."""
        return withdraw.restore_feed(mpi, parse_id(feed_id, "feed_id"), current_principal())

    return room


def _key(body: Loaded) -> RecordKey:
    return RecordKey(body["organisation"], body["system"], body["local_id"])


def _told(out: withdraw.Out) -> dict[str, Any]:
    return {
        "person_ids": out.person_ids,
        "persons": out.persons,
        "tasks_opened": out.tasks_opened,
        "tasks_closed": out.tasks_closed,
        "handed": out.handed,
    }
