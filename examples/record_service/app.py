"""A small record service: a mental-health note, a medication list, a discharge letter, each shown only after redemption.

    MPI_URL=http://127.0.0.1:8080 CLIENT_ID=record-service CLIENT_KEY=key.pem CLIENT_KID=key-1 python -m examples.record_service

Then, with a ticket from ``POST /api/v1/releases`` whose redeemer is this client:

    curl -H "X-Release-Ticket: $TICKET" http://127.0.0.1:8090/records
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flask

from consent.enforcement import Inspection, Item, Release, ReleaseClient, released
from examples.record_service.sign_in import SignIn

SAMPLE = Path(__file__).with_name("records.json")

# What this service promises to keep beyond what consent.enforcement keeps for it.
ALSO_KEEPS = ("MASK_LOCATION", "SHOW_IDENTITY_WARNING")


def load_records(path: Path) -> Sequence[Mapping[str, str]]:
    """Read what this service holds: rows of organisation, system, local_id, id, category, label, title and text."""
    rows: Sequence[Mapping[str, str]] = json.loads(path.read_text("utf-8"))
    return rows


def create_app(client: ReleaseClient, records: Sequence[Mapping[str, str]]) -> flask.Flask:
    app = flask.Flask(__name__)

    def find_items(inspection: Inspection) -> list[Item]:
        ours = {(one.organisation, one.system, one.local_id) for one in inspection.local_ids}
        return [
            Item(
                id=row["id"],
                category=row["category"],
                label=row["label"],
                source=row["organisation"],
                content={"title": row["title"], "text": row["text"]},
            )
            for row in records
            if (row["organisation"], row["system"], row["local_id"]) in ours
        ]

    @app.get("/records")
    @released(client, find_items)
    def show_records(release: Release) -> Any:
        return {
            "items": [
                {"id": item.id, "category": item.category, "source": item.source, **item.content}
                for item in release.items
                # Nothing here holds an address; a service that does leaves it out when told to.
                if not (release.must("MASK_LOCATION") and item.category == "location")
            ],
            "notice": release.notice,
            "identity_warning": release.must("SHOW_IDENTITY_WARNING"),
        }

    @app.get("/health")
    def health() -> Any:
        return {"status": "ready"}

    return app


def from_environment() -> flask.Flask:
    url = os.environ.get("MPI_URL", "http://127.0.0.1:8080")
    sign_in = SignIn(
        url,
        os.environ.get("CLIENT_ID", "record-service"),
        Path(os.environ.get("CLIENT_KEY", "key.pem")),
        os.environ.get("CLIENT_KID", "key-1"),
        "redeem",
    )
    client = ReleaseClient(url, sign_in, also_keeps=ALSO_KEEPS)
    return create_app(client, load_records(Path(os.environ.get("RECORDS", str(SAMPLE)))))
