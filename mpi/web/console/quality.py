"""Data quality in the console: the worst feeds first, one organisation's trends, and the match model in force with its changes."""

import json
from typing import Any

from flask import Blueprint, make_response, render_template, request
from werkzeug.wrappers import Response

from foundation.errors import Conflict, Invalid
from foundation.web import current_principal, requires
from foundation.web.charts import Chart, Series
from foundation.web.pages import Fault, Listing, chosen_of, fault_of, go, moved_on_page, write_day
from mpi.matching.explain import NAMES
from mpi.matching.quality import FIGURES
from mpi.service import models
from mpi.service.context import Mpi
from mpi.service.desk import names_for
from mpi.service.quality import BAD, SourceQuality, read_quality, worst_sources
from mpi.web.console import words

PAGE = 25
SHOWN = ("number_verified", "birth_date_full", "postcode_valid", "duplicates", "number_conflicts", "overlays")
"""The figures of the list, in columns; each can be sorted by, the worst first."""
TRENDS = (
    ("Completeness", ("number_verified", "birth_date_full", "postcode_valid", "phone")),
    ("What is wrong", ("duplicates", "number_invalid", "placeholder_name", "birth_date_placeholder")),
)
LABELS = {
    "records": "Records",
    "waiting": "Wait for linking",
    "given_name": "Given name",
    "family_name": "Family name",
    "birth_date_full": "Full date of birth",
    "birth_date_partial": "Partial date of birth",
    "gender": "Gender",
    "postcode": "Postcode",
    "address": "Address",
    "phone": "Phone",
    "email": "E-mail",
    "nhs_number": "NHS number",
    "practice": "GP practice",
    "number_verified": "NHS number verified",
    "number_claimed": "NHS number not verified",
    "number_superseded": "NHS number superseded",
    "number_withdrawn": "NHS number withdrawn or in conflict",
    "number_invalid": "NHS number not valid",
    "number_reserved": "NHS number for tests",
    "birth_date_placeholder": "Placeholder for a date of birth",
    "birth_date_impossible": "Impossible date of birth",
    "postcode_valid": "Valid postcode",
    "postcode_repaired": "Postcode put right",
    "postcode_pseudo": "Pseudo postcode",
    "postcode_other": "Not a UK postcode",
    "placeholder_name": "Placeholder for a name",
    "duplicates": "Duplicates",
    "overlays": "Held updates",
    "number_conflicts": "NHS number conflicts",
    "linked_elsewhere": "Linked to another source",
    "versions": "Versions",
    "versions_late": "Versions that came late",
    "versions_held": "Versions that are held",
}

Page = str | Response


def make(mpi: Mpi) -> Blueprint:
    room = Blueprint("mpi-quality", __name__)

    @room.get("/quality")
    @requires("quality:read")
    def show_sources() -> str:
        by = current_principal()
        chosen = chosen_of(request.args, {"sort": SHOWN})
        place = (
            int(cursor) if (cursor := request.args.get("cursor", "0")).isdecimal() and len(cursor) < 6 else 0
        )
        figure = chosen.get("sort", SHOWN[0])
        found = worst_sources(mpi, by, figure=figure, start=place, limit=PAGE + 1)
        page = found[:PAGE]
        following = str(place + PAGE) if len(found) > PAGE else None
        return render_template(
            "mpi/quality.html",
            sources=page,
            names=names_for(mpi, {one.organisation for one in page}),
            listing=Listing("/quality", {"sort": figure}, str(place) if place else None, following),
            figures=[(code, LABELS[code]) for code in SHOWN],
            bad=BAD,
        )

    @room.get("/quality/<organisation>")
    @requires("quality:read")
    def show_organisation(organisation: str) -> str:
        page = read_quality(mpi, current_principal(), organisation=organisation, limit=PAGE)
        return render_template(
            "mpi/quality_organisation.html",
            organisation=organisation,
            name=names_for(mpi, {organisation}).get(organisation, organisation),
            sources=[(one, _charts(place, one)) for place, one in enumerate(page.sources)],
            figures=[(figure.code, LABELS[figure.code], figure.meaning) for figure in FIGURES],
        )

    @room.get("/models")
    @requires("tasks:read")
    def show_models() -> str:
        return _models_page(mpi)

    @room.post("/models")
    @requires("tasks:work")
    def propose() -> Page:
        files, comment = request.files, _comment()
        try:
            document = _json(files.get("model"), "model")
            forecast = _json(files["forecast"], "forecast") if files.get("forecast") else None
            models.propose_model(
                mpi, models.read_model(document), current_principal(), forecast=forecast, comment=comment
            )
        except Invalid as fault:
            return make_response(_models_page(mpi, [_fault(fault)]), 422)
        except Conflict as refusal:
            return _late(refusal, comment)
        return go("/models", "model-proposed")

    @room.post("/models/roll-back")
    @requires("tasks:work")
    def roll_back() -> Page:
        return _changed(
            mpi, "model-proposed", lambda by: models.propose_roll_back(mpi, by, comment=_comment())
        )

    @room.post("/models/<revision>/approve")
    @requires("tasks:work")
    def approve(revision: str) -> Page:
        return _changed(mpi, "model-approved", lambda by: models.approve_model(mpi, revision, by))

    @room.post("/models/<revision>/withdraw")
    @requires("tasks:work")
    def withdraw(revision: str) -> Page:
        return _changed(mpi, "model-withdrawn", lambda by: models.withdraw_model(mpi, revision, by))

    return room


def _charts(place: int, source: SourceQuality) -> list[Chart]:
    """Draw shares of records day by day; a day on which a share may not be told is left out of its line."""
    labels = tuple(write_day(day.measured_on).rpartition(" ")[0] for day in source.series)
    found = []
    for number, (title, codes) in enumerate(TRENDS):
        series = tuple(
            Series(
                LABELS[code],
                tuple(
                    None if (share := day.figures[code].per_mille) is None else round(share / 10, 1)
                    for day in source.series
                ),
            )
            for code in codes
        )
        found.append(Chart(f"trend-{place}-{number}", title, "lines", labels, series, "%", "Day"))
    return found


# Models ------------------------------------------------------------------------------------------------------------------

_COUNTS = {
    "records": "Records",
    "persons_before": "People now",
    "persons_after": "People then",
    "persons_joined": "People who become one of several",
    "persons_parted": "People who are taken apart",
    "links_gained": "Links gained",
    "links_lost": "Links lost",
    "records_touched": "Records of changed people",
}
_WORDS = {
    "model-format": "This is no match model",
    "forecast-format": "This is not what `mpi forecast --json` prints",
    "forecast-of-another-model": "This forecast is of another model",
    "text-too-long": "Shorten the comment to 2,000 characters",
    "control-character": "Take out the characters that cannot be shown",
    "file-missing": "Choose a file",
    "file-format": "This file is not JSON",
}
_LATE = {
    "model-in-force": "This model is in force already",
    "model-proposed-already": "This model waits for approval already",
    "second-person-same": "You proposed it, so somebody else must approve it",
    "model-approved-already": "It was approved already",
    "model-moved": "Another model came into force since it was proposed",
    "forecast-missing": "It needs a forecast before it can be approved",
    "nothing-to-roll-back": "There is no model to go back to",
}
STALE = {
    "model-moved": "another model came into force since",
    "index-changed": "more than one record in a hundred came or changed since",
    "old": "it was made more than 30 days ago",
}


def _models_page(mpi: Mpi, faults: list[Fault] | None = None) -> str:
    found = models.list_models(mpi)
    by, model = current_principal(), mpi.present().model
    limits = model.thresholds
    return render_template(
        "mpi/models.html",
        found=found,
        name=model.name,
        limits=[
            (
                "Live",
                limits.live,
                "From here on two records are linked by themselves, unless a rule forbids it",
            ),
            ("Even odds", limits.balanced, "As likely one person as two"),
            ("Review", limits.review, "From here on people are asked"),
            (
                "Contradiction",
                limits.contradiction,
                "Two records at or below this are never in one person by themselves",
            ),
        ],
        weights=_weights(model),
        changes=[(one, _tally(one.forecast or {})) for one in found.changes],
        counts=_COUNTS,
        stale=STALE,
        kinds=words.KINDS,
        may_change="tasks:work" in by.scopes,
        me=by.id,
        faults=faults or [],
        form=request.form,
    )


def _weights(model: Any) -> list[tuple[str, int, int]]:
    """Return for each field the least and the greatest weight that one of its levels has, in millibits."""
    found = []
    for name, levels in model.parts.items():
        values = [weights[0] for weights in levels.values()]  # against strangers, the commonest rival
        if values:
            found.append((NAMES.get(name, name), min(values), max(values)))
    return found


def _tally(forecast: Any) -> list[tuple[str, int]]:
    return [(_COUNTS[name], forecast[name]) for name in _COUNTS if name in forecast]


def _changed(mpi: Mpi, said: str, act: Any) -> Page:
    try:
        act(current_principal())
    except Invalid as fault:
        return make_response(_models_page(mpi, [_fault(fault)]), 422)
    except Conflict as refusal:
        return _late(refusal, _comment())
    return go("/models", said)


def _late(refusal: Conflict, comment: str | None) -> Response:
    return moved_on_page(
        _LATE.get(refusal.code, "This changed while you had the page open"),
        ["Nothing was changed."],
        kept=[("Your comment", comment or "")],
        back="/models",
    )


def _json(file: Any, field: str) -> Any:
    if file is None or not file.filename:
        raise Invalid("file-missing", field=field)
    try:
        return json.loads(file.read().decode("utf-8"))
    except (ValueError, RecursionError):
        raise Invalid("file-format", field=field) from None


def _comment() -> str | None:
    return request.form.get("comment", "").replace("\r\n", "\n").strip() or None


def _fault(fault: Invalid) -> Fault:
    return fault_of(fault, _WORDS, {})
