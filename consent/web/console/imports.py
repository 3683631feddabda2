"""Bringing in a file of directives: looked at row by row first, then recorded. Between the two the file stands in the page, packed."""

import base64
import binascii
import csv
import io
import zlib
from collections.abc import Sequence

from flask import Blueprint, Response, make_response, render_template, request

from consent.service.context import Consent
from consent.service.directive_file import DirectiveLoad, DirectiveRow, load_directives, read_directive_text
from foundation.errors import Invalid
from foundation.web import current_principal, requires
from foundation.web.pages import Fault

MOST_ROWS = 500
"""As many as one call of the API takes; each row is a transaction, and somebody waits for the page."""

_LARGEST, _LARGEST_PACKED = 1_000_000, 90_000

STATES = {
    "binds": "Binds now",
    "waits": "Waits until the index knows the patient",
    "kept": "Refused: kept, and changes nothing",
    "lifted": "A later permission lifts it",
    "known": "Recorded before",
    "may-bind": "People would have to look who it is",
    "rejected": "Rejected",
}
_FILE = {
    "file-missing": "Choose a file",
    "file-too-large": f"The file is too large for this page. Divide it into files of at most {MOST_ROWS} rows",
    "too-many-rows": f"The file has more than {MOST_ROWS} rows. Divide it",
    "file-empty": "The file is empty",
    "file-encoding": "The file is not UTF-8. Save it again as CSV UTF-8",
    "file-format": "This is no text file. Save it as CSV UTF-8",
    "column-missing": "A column is missing that every file needs",
    "column-unknown": "A column is not known",
    "column-repeated": "A column comes twice",
    "file-unreadable": "The file could not be read. Choose it again",
}
CODES = {
    "field-missing": "is missing",
    "directive-kind-unknown": "is no kind that a file may bring",
    "emergency-unknown": "must be may-override or binds",
    "channel-unknown": "is no known way of asking",
    "capacity-unknown": "is no known capacity",
    "scope-unknown": "covers nothing that is known",
    "standing-unknown": "must be upheld, pending or refused",
    "reason-missing": "is needed where it was refused",
    "too-long": "is too long",
    "organisation-unknown": "is not in the directory",
    "organisation-not-yours": "is not your organisation",
    "role-not-allowed": "is not for your role",
    "person-unknown": "is nobody's number",
    "person-and-form": "is given together with names: give one of them",
    "person-or-form-missing": "says nobody: give a person or their details",
    "form-too-thin": "says too little: names and birth date, or NHS number and birth date",
    "reference-repeated": "comes twice in this file",
    "reference-differs": "is on record for something else",
    "reference-format": "is no reference",
    "reference-identifies": "holds an NHS number: use another reference",
    "not-a-practice": "is not a practice",
    "id-format": "is no number of a person",
    "nhs-number-check": "is mistyped",
    "nhs-number-length": "has not 10 digits",
    "instant-format": "is no date",
    "date-format": "is no date",
    "end-before-start": "lies before the beginning",
    "column-count": "has too many or too few columns",
    "row-unreadable": "cannot be read",
}


def add_pages(room: Blueprint, consent: Consent) -> None:
    @room.get("/objections/import")
    @requires("directives:write")
    def choose() -> str:
        """Ask for the file."""
        return render_template("consent/import.html", faults=[])

    @room.post("/objections/import")
    @requires("directives:write", "match")
    def preview() -> Response:
        """Say of each row what would happen, and write nothing."""
        sent = request.files.get("file")
        content = sent.read(_LARGEST + 1) if sent is not None else b""
        return _shown(consent, content, is_preview=True)

    @room.post("/objections/import/record")
    @requires("directives:write", "match")
    def record() -> Response:
        """Record the rows. The same file again changes nothing."""
        return _shown(consent, _unpacked(), is_preview=False)

    @room.post("/objections/import/rejects")
    @requires("directives:write", "match")
    def rejects() -> Response:
        """Give the rejected rows as CSV: row, field, code; never a value."""
        made = load_directives(consent, _read(consent, _unpacked()), current_principal(), is_preview=True)
        answer = make_response(_csv_of(made))
        answer.content_type = "text/csv; charset=utf-8"
        answer.headers["Content-Disposition"] = 'attachment; filename="rejected-rows.csv"'
        return answer


def _shown(consent: Consent, content: bytes, *, is_preview: bool) -> Response:
    by = current_principal()
    skips = request.form.get("rejected") == "skip"
    try:
        rows = _read(consent, content)
        packed = _packed(content)
    except Invalid as fault:
        return make_response(render_template("consent/import.html", faults=_faults(fault)), 422)
    made = load_directives(consent, rows, by, is_preview=is_preview, skips_rejected=skips)
    page = render_template(
        "consent/imported.html",
        made=made,
        is_preview=is_preview,
        packed=packed,
        states=STATES,
        rejected=[
            (one.row, one.field or "row", CODES.get(one.code or "", one.code)) for one in made.rejected
        ],
        others=[one for one in made.rows if one.state != "rejected"],
    )
    return make_response(page, 200 if is_preview or made.is_written else 422)


def _read(consent: Consent, content: bytes) -> Sequence[DirectiveRow]:
    if not content:
        raise Invalid("file-missing", field="file")
    if len(content) > _LARGEST:
        raise Invalid("file-too-large", field="file")
    rows = read_directive_text(content, consent)
    if len(rows) > MOST_ROWS:
        raise Invalid("too-many-rows", field="file")
    return rows


def _packed(content: bytes) -> str:
    packed = base64.b64encode(zlib.compress(content, 9)).decode()
    if len(packed) > _LARGEST_PACKED:
        raise Invalid("file-too-large", field="file")
    return packed


def _unpacked() -> bytes:
    """Return the file that the page holds; what is no such thing, or would swell too far, is nothing."""
    try:
        packed = base64.b64decode(request.form.get("packed", ""), validate=True)
        return zlib.decompressobj().decompress(packed, _LARGEST + 1)
    except (ValueError, binascii.Error, zlib.error):
        return b""


def _faults(fault: Invalid) -> list[Fault]:
    words = _FILE.get(fault.code, f"The file cannot be taken ({fault.code})")
    where = f" (row {fault.row})" if fault.row is not None and fault.code == "file-encoding" else ""
    which = f": {fault.field}" if fault.code == "column-missing" and fault.field else ""
    more = f". {fault.detail}" if fault.code in ("column-unknown", "column-repeated") and fault.detail else ""
    return [Fault("file", f"{words}{which}{where}{more}")]


def _csv_of(made: DirectiveLoad) -> str:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("row", "field", "code"))
    table.writerows((one.row, one.field or "", one.code or "") for one in made.rejected)
    return out.getvalue()
