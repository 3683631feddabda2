"""What a record service imports to release items against a ticket; it needs requests, and Flask only for the decorator.

client = ReleaseClient("https://mpi.example", token)             # token: a function that returns a bearer token

@app.get("/patients/records")
@released(client, find_items)                                    # find_items(inspection) -> what we hold and would show
def show(release):
    return [text_of(item) for item in release.items]             # items that may be shown now, and no others

Whatever goes wrong, nothing is shown: no ticket, no answer, an item too many, an obligation that nobody here knows how to keep.
"""

from consent.enforcement.check import ReleaseCheck, released
from consent.enforcement.client import (
    HANDLED_HERE,
    Inspection,
    Item,
    LocalId,
    Refused,
    Release,
    ReleaseClient,
)

__all__ = [
    "HANDLED_HERE",
    "Inspection",
    "Item",
    "LocalId",
    "Refused",
    "Release",
    "ReleaseCheck",
    "ReleaseClient",
    "released",
]
