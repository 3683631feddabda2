"""Reports and alerts over HTTP, for privacy officers."""

from typing import Any

from flask_smorest import Blueprint

from consent.service.context import Consent
from consent.service.report import access_report, list_alerts
from consent.web.schemas import AlertPage, Loaded, ReportQuery, ReportSchema
from foundation.ids import parse_id
from foundation.web import PageQuery, current_principal, make_blueprint, make_page, read_cursor, requires


def make(consent: Consent) -> Blueprint:
    room = make_blueprint("reports", description="Who saw what, and what should be looked at")

    @room.get("/persons/<person_id>/access-report")
    @requires("reports:read")
    @room.arguments(ReportQuery, location="query")
    @room.response(200, ReportSchema)
    def report(query: Loaded, person_id: str) -> Any:
        """Tell who asked for and saw a person's record, oldest first, in the officer's and the patient's words. The making of the report
        is audited too."""
        number = parse_id(person_id, "person_id")
        return access_report(consent, number, current_principal(), since=query["since"], until=query["until"])

    @room.get("/alerts")
    @requires("alerts:read")
    @room.arguments(PageQuery, location="query")
    @room.response(200, AlertPage)
    def alerts(query: Loaded) -> Any:
        """Return the alerts of the officer's organisations."""
        place = read_cursor(query["cursor"], int)
        after, limit = place[0] if place else 0, query["limit"]
        rows = list_alerts(consent, current_principal(), after=after, limit=limit + 1)
        return make_page(rows, limit, lambda alert: [alert.alert_id])

    return room
