"""Notices over HTTP, for privacy officers: which organisations are to be told of undone merges, and who saw what while they stood."""

from typing import Any

from flask_smorest import Blueprint

from consent.service import notices
from consent.service.context import Consent
from consent.service.notices import Notice
from consent.web.schemas import (
    Loaded,
    NoticeNotNeededSchema,
    NoticeQuery,
    NoticeReopenSchema,
    NoticeSchema,
    NoticeToldSchema,
    SightSchema,
    WhoSawQuery,
)
from foundation.ids import parse_id
from foundation.web import (
    current_principal,
    etag,
    if_match,
    make_blueprint,
    make_page,
    page_schema,
    read_cursor,
    requires,
    takes_if_match,
)


def make(consent: Consent) -> Blueprint:
    room = make_blueprint("notices", description="Whom to tell of merges that were undone")

    def told(notice: Notice) -> Any:
        return notice, 200, {"ETag": etag(notice.version)}

    @room.get("/notices")
    @requires("notices")
    @room.arguments(NoticeQuery, location="query")
    @room.response(200, page_schema(NoticeSchema))
    def list_notices(query: Loaded) -> Any:
        """Return which of the officer's organisations are to be told of undone merges, those of the oldest first; the reading is audited.

        A notice is there for each organisation that had a record in the merged person, or whose users looked while it stood. This service
        tells them nothing itself.
        """
        place = read_cursor(query["cursor"], int, int)
        rows = notices.list_notices(
            consent,
            current_principal(),
            state=query["state"],
            organisation=query["organisation"],
            person_id=query["person"],
            after=(place[0], place[1]) if place else None,
            limit=query["limit"] + 1,
        )
        return make_page(rows, query["limit"], lambda one: [one.merge_id, one.notice_id])

    @room.get("/notices/<notice_id>")
    @requires("notices")
    @room.response(200, NoticeSchema)
    def read_notice(notice_id: str) -> Any:
        """Return one notice; its ETag is the version that a change of it starts from. The reading is audited."""
        return told(notices.get_notice(consent, parse_id(notice_id, "notice_id"), current_principal()))

    @room.post("/notices/<notice_id>/told")
    @requires("notices")
    @room.arguments(NoticeToldSchema)
    @room.response(200, NoticeSchema)
    @takes_if_match
    def note_told(body: Loaded, notice_id: str) -> Any:
        """Note that the organisation was told, how and when."""
        number = parse_id(notice_id, "notice_id")
        return told(notices.note_told(consent, number, current_principal(), **body, if_match=if_match()))

    @room.post("/notices/<notice_id>/not-needed")
    @requires("notices")
    @room.arguments(NoticeNotNeededSchema)
    @room.response(200, NoticeSchema)
    @takes_if_match
    def note_not_needed(body: Loaded, notice_id: str) -> Any:
        """Note that the organisation need not be told, and why."""
        number = parse_id(notice_id, "notice_id")
        return told(
            notices.note_not_needed(consent, number, current_principal(), **body, if_match=if_match())
        )

    @room.post("/notices/<notice_id>/reopen")
    @requires("notices")
    @room.arguments(NoticeReopenSchema)
    @room.response(200, NoticeSchema)
    @takes_if_match
    def reopen(body: Loaded, notice_id: str) -> Any:
        """Take back that the organisation was told, or need not be. What was said stays in the audit log."""
        number = parse_id(notice_id, "notice_id")
        return told(notices.reopen_notice(consent, number, current_principal(), **body, if_match=if_match()))

    @room.get("/undone-merges/<merge_id>/who-saw")
    @requires("notices")
    @room.arguments(WhoSawQuery, location="query")
    @room.response(200, page_schema(SightSchema))
    def who_saw(query: Loaded, merge_id: str) -> Any:
        """Return every look at an undone merge while it stood, by users of the officer's organisations, in order; the reading is audited.

        A look is an act by which somebody was shown something, was told that it may be shown, or was told who it is.
        """
        place = read_cursor(query["cursor"], int)
        rows = notices.who_saw(
            consent,
            parse_id(merge_id, "merge_id"),
            current_principal(),
            since=query["since"],
            until=query["until"],
            organisation=query["organisation"],
            after=place[0] if place else 0,
            limit=query["limit"] + 1,
        )
        return make_page(rows, query["limit"], lambda one: [one.event_id])

    return room
