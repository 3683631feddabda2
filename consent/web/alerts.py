"""Alerts over HTTP, for privacy officers: listed, reviewed, counted; and what staff files and hours they rest on."""

from typing import Any

from flask_smorest import Blueprint

from consent.service.alerts import Review, alert_figures, coverage_of, list_alerts, review_alert
from consent.service.celebrities import Listed, list_celebrities, list_celebrity, unlist_celebrity
from consent.service.context import Consent
from consent.service.hours import list_hours
from consent.service.staff import list_staff_files
from consent.web.schemas import (
    AlertFiguresSchema,
    AlertPage,
    AlertQuery,
    AlertSchema,
    CelebritiesSchema,
    CelebritySchema,
    Loaded,
    NewCelebritySchema,
    ReviewSchema,
    StaffFilesSchema,
    WorkingHoursListSchema,
)
from foundation.ids import parse_id
from foundation.web import current_principal, make_blueprint, make_page, read_cursor, requires


def make(consent: Consent) -> Blueprint:
    room = make_blueprint("alerts", description="Looks at records that somebody should ask about")

    @room.get("/alerts")
    @requires("alerts:read")
    @room.arguments(AlertQuery, location="query")
    @room.response(200, AlertPage)
    def alerts(query: Loaded) -> Any:
        """Return the alerts of the officer's organisations, the worst first and among equals the oldest.

        `not_evaluated` says for which organisations nobody looked, and for what: without a staff file an employer's staff are compared
        with nobody, and without hours no look is out of them. The reading is audited.
        """
        by, limit = current_principal(), query["limit"]
        place = read_cursor(query["cursor"], int, int)
        after = (place[0], place[1]) if place else None
        rows = list_alerts(consent, by, state=query["state"], after=after, limit=limit + 1)
        page = make_page(rows, limit, lambda alert: [alert.rank, alert.alert_id])
        return page | {"not_evaluated": coverage_of(consent, by)}

    @room.post("/alerts/<alert_id>/review")
    @requires("alerts:read")
    @room.arguments(ReviewSchema)
    @room.response(200, AlertSchema)
    def review(body: Loaded, alert_id: str) -> Any:
        """Close an alert with an outcome: `legitimate`, `confirmed` or `not-enough-to-say`. Nobody reviews an alert about themselves."""
        number = parse_id(alert_id, "alert_id")
        return review_alert(consent, number, Review(**body), current_principal())

    @room.get("/alert-figures")
    @requires("alerts:read")
    @room.response(200, AlertFiguresSchema)
    def figures() -> Any:
        """Return how many alerts each signal raised, what came of them, and how often it was right; and what was not evaluated."""
        found = alert_figures(consent, current_principal())
        return {
            "rates": found.rates,
            "not_evaluated": found.coverage,
            "looked_until": found.looked_until,
        }

    @room.get("/staff-files")
    @requires("alerts:read")
    @room.response(200, StaffFilesSchema)
    def files() -> Any:
        """Return the staff files of the officer's organisations: legal basis, what is compared, day of review; never whom they name.

        They are loaded and withdrawn by an operator: `consent staff`.
        """
        today = consent.mpi.today()
        return {
            "staff_files": [
                {name: getattr(one, name) for name in type(one).__slots__}
                | {"is_overdue": one.review_on <= today}
                for one in list_staff_files(consent, current_principal())
            ]
        }

    @room.get("/working-hours")
    @requires("alerts:read")
    @room.response(200, WorkingHoursListSchema)
    def hours() -> Any:
        """Return when staff of the officer's organisations work, by role, as it is on file.

        They are loaded and withdrawn by an operator: `consent hours`.
        """
        return {"working_hours": list_hours(consent, current_principal())}

    def told(listed: Listed) -> Any:
        entry = listed.entry
        names = ("entry_id", "organisation", "reason", "review_on", "listed_at", "listed_by")
        row = {name: getattr(entry, name) for name in names}
        overdue = entry.review_on <= consent.mpi.today()
        return row | {"person_ids": listed.person_ids, "is_overdue": overdue}

    @room.get("/celebrities")
    @requires("alerts:read")
    @room.response(200, CelebritiesSchema)
    def celebrities() -> Any:
        """Return who stands on the celebrity list of the officer's organisations; the look is audited.

        For privacy officers in person alone: any look at somebody on it that care does not explain raises an alert.
        """
        return {"celebrities": [told(one) for one in list_celebrities(consent, current_principal())]}

    @room.post("/celebrities")
    @requires("alerts:read")
    @room.arguments(NewCelebritySchema)
    @room.response(201, CelebritySchema)
    def put_on(body: Loaded) -> Any:
        """Put a person on the celebrity list, with a reason and a day of review; for privacy officers in person alone.

        The entry follows the person's records through merges and splits.
        """
        by = current_principal()
        return told(list_celebrity(consent, body["person_id"], body["reason"], body["review_on"], by))

    @room.delete("/celebrities/<entry_id>")
    @requires("alerts:read")
    @room.response(204)
    def take_off(entry_id: str) -> None:
        """Take somebody off the celebrity list; for privacy officers in person alone. Alerts that were raised stay."""
        unlist_celebrity(consent, parse_id(entry_id, "entry_id"), current_principal())

    return room
