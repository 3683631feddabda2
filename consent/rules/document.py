"""A rule set as a document: whether every part of it is there, of its kind and within its bounds, before anything is compiled of it."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NoReturn

from consent.facts import codes
from consent.rules.decision import OBLIGATIONS, Effect, Outcome
from consent.rules.watch import RANKS
from foundation.errors import Invalid

MOST_ROWS = 1_000
MOST_CODES = 2_000
LONGEST_TEXT = 500

_PARTS = frozenset(
    {"name", "version", "settings", "role_classes", "purpose_groups", "purpose_covers", "tiers", "rows", "reasons", "outcomes"}
)  # fmt: skip
_SETTINGS = {
    "opt_out_days": 365,
    "emergency_hours": 72,
    "emergency_renewals": 100,
    "notify_patient_days": 365,
    "proxy_review_age": 25,
    "proxy_end_age": 25,
}
"""Each setting, and the greatest that it may be."""

_VOICES = frozenset({"staff", "officer", "patient"})
_TIER_FIELDS = frozenset({"tier", "name", "needs_permit", "otherwise"})
_ROW_FIELDS = frozenset(
    {"id", "version", "tier", "effect", "reason", "overridable", "hides", "when", "unless", "obligations", "alerts", "enabled", "why"}
)  # fmt: skip
_ROW_NEEDS = ("version", "tier", "effect", "reason")
_OVERRIDABLE_TIERS = (4, 6, 7)
_ALERTS = frozenset(RANKS) | {"break-glass-used"}
_SOUND = {"subject": "current", "facts": "readable", "request_codes": "known", "cell_codes": "known"}
"""What every permit of the first tier must ask for: no rule set may let through what cannot be known."""

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST_ID = 60


def check_document(document: Any) -> None:
    """See that a document is a rule set, whole.

    Raises:
        Invalid: ``policy-format``; ``field`` names the part, or the row (by its id, or its place from 1) and the attribute at fault.
    """
    if not isinstance(document, Mapping):
        _refuse("policy")
    _names(document, _PARTS, "")
    _words(document["name"], "name", 120)
    _number(document["version"], "version", 1, 1_000_000)
    _settings(document["settings"])
    _tables(document)
    for part, wanted in (("reasons", None), ("outcomes", {one.value for one in Outcome})):
        _texts(document[part], part, wanted)
    _tiers(document["tiers"])
    if not isinstance(document["rows"], list) or not 0 < len(document["rows"]) <= MOST_ROWS:
        _refuse("rows")
    seen: set[str] = set()
    for place, row in enumerate(document["rows"], start=1):
        _row(row, place, seen)


def _refuse(field: str) -> NoReturn:
    raise Invalid("policy-format", field=field[:120])


def _names(
    part: Mapping[str, Any], wanted: frozenset[str], where: str, needed: Iterable[str] | None = None
) -> None:
    """See that a part has the fields that it needs (all, if not said) and no others."""
    # A name that is not known is the author's own word, and may be anything: it is told where it reads as a name.
    if unknown := sorted(str(name) for name in set(part) - wanted):
        _refuse(where + (unknown[0] if _ID.fullmatch(unknown[0].replace("_", "-")) else "?"))
    if missing := sorted(set(wanted if needed is None else needed) - set(part)):
        _refuse(where + missing[0])


def _words(value: Any, where: str, longest: int = LONGEST_TEXT) -> None:
    if not isinstance(value, str) or not value or len(value) > longest or not value.isprintable():
        _refuse(where)


def _number(value: Any, where: str, least: int, greatest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= greatest:
        _refuse(where)


def _flag(row: Mapping[str, Any], name: str, where: str) -> None:
    if not isinstance(row.get(name, False), bool):
        _refuse(f"{where}.{name}")


def _codes(value: Any, where: str, known: Collection[str] | None = None) -> None:
    if not isinstance(value, list) or len(value) > MOST_CODES:
        _refuse(where)
    for one in value:
        _words(one, where, 60)
        if known is not None and one not in known:
            _refuse(where)


def _settings(settings: Any) -> None:
    if not isinstance(settings, Mapping):
        _refuse("settings")
    _names(settings, frozenset(_SETTINGS), "settings.")
    for name, greatest in _SETTINGS.items():
        _number(settings[name], f"settings.{name}", 0 if name == "emergency_renewals" else 1, greatest)
    if settings["proxy_review_age"] > settings["proxy_end_age"]:
        _refuse("settings.proxy_review_age")


def _tables(document: Mapping[str, Any]) -> None:
    for part in ("role_classes", "purpose_groups", "purpose_covers"):
        if not isinstance(document[part], Mapping) or len(document[part]) > MOST_CODES:
            _refuse(part)
    for part in ("role_classes", "purpose_groups"):
        for code, value in document[part].items():
            _words(code, part, 60)
            _words(value, part, 60)
            if value == "unknown":
                _refuse(part)
    if not set(document["purpose_groups"]) <= codes.PURPOSES:
        _refuse("purpose_groups")
    if not set(document["purpose_covers"]) <= codes.PURPOSES:
        _refuse("purpose_covers")
    for narrow in document["purpose_covers"].values():
        _codes(narrow, "purpose_covers", codes.PURPOSES)


def _texts(texts: Any, part: str, wanted: set[str] | None) -> None:
    """See that each of these has its sentence in three voices; of reasons, none is known beforehand but the net below all rules."""
    if not isinstance(texts, Mapping) or (wanted is not None and set(texts) != wanted):
        _refuse(part)
    if wanted is None and "rule-failed" not in texts:
        _refuse("reasons.rule-failed")
    for code, voices in texts.items():
        if not isinstance(code, str) or not (wanted or (_ID.fullmatch(code) and len(code) <= _LONGEST_ID)):
            _refuse(part)
        if not isinstance(voices, Mapping) or set(voices) != _VOICES:
            _refuse(f"{part}.{code}")
        for voice, sentence in voices.items():
            # A reason may say nothing in a voice; a blank to be filled could carry what is hidden.
            if sentence != "" or wanted is not None:
                _words(sentence, f"{part}.{code}.{voice}")
            if set("{}%") & set(sentence):
                _refuse(f"{part}.{code}.{voice}")


def _tiers(tiers: Any) -> None:
    if not isinstance(tiers, list) or len(tiers) != 9:
        _refuse("tiers")
    for number, tier in enumerate(tiers):
        where = f"tiers.{number}"
        if not isinstance(tier, Mapping):
            _refuse(where)
        _names(tier, _TIER_FIELDS, f"{where}.", ("tier", "name", "needs_permit"))
        _number(tier["tier"], f"{where}.tier", number, number)
        if (
            not isinstance(tier["name"], str)
            or not _ID.fullmatch(tier["name"])
            or len(tier["name"]) > _LONGEST_ID
        ):
            _refuse(f"{where}.name")
        if not isinstance(tier["needs_permit"], bool) or (number == 0 and not tier["needs_permit"]):
            _refuse(f"{where}.needs_permit")
        otherwise = tier.get("otherwise")
        if not tier["needs_permit"] and otherwise is None:
            continue
        if not isinstance(otherwise, Mapping) or not isinstance(otherwise.get("reason"), str):
            _refuse(f"{where}.otherwise")
        _names(otherwise, frozenset({"reason", "overridable"}), f"{where}.otherwise.", ("reason",))
        _flag(otherwise, "overridable", f"{where}.otherwise")
        if otherwise.get("overridable", False) and number not in _OVERRIDABLE_TIERS:
            _refuse(f"{where}.otherwise.overridable")


def _row(row: Any, place: int, seen: set[str]) -> None:
    where = f"rows.{place}"
    if not isinstance(row, Mapping):
        _refuse(where)
    name = row.get("id")
    if not isinstance(name, str) or not _ID.fullmatch(name) or len(name) > _LONGEST_ID or name in seen:
        _refuse(f"{where}.id")
    seen.add(name)
    _names(row, _ROW_FIELDS, f"{name}.", _ROW_NEEDS)
    _number(row["version"], f"{name}.version", 1, 1_000_000)
    _number(row["tier"], f"{name}.tier", 0, 8)
    if row["effect"] not in [one.value for one in Effect]:
        _refuse(f"{name}.effect")
    if not isinstance(row["reason"], str):
        _refuse(f"{name}.reason")
    for flag in ("overridable", "hides", "enabled"):
        _flag(row, flag, name)
    if row.get("hides", False) and row["effect"] != Effect.DENY:
        _refuse(f"{name}.hides")
    if "why" in row:
        _words(row["why"], f"{name}.why")
    _codes(row.get("obligations", []), f"{name}.obligations", OBLIGATIONS)
    _codes(row.get("alerts", []), f"{name}.alerts", _ALERTS)
    for part in ("when", "unless"):
        conditions = row.get(part, {})
        if not isinstance(conditions, Mapping):
            _refuse(f"{name}.{part}")
        for attribute, listed in conditions.items():
            _codes(listed, f"{name}.{part}.{attribute}")
    if row["tier"] == 0 and row["effect"] == Effect.PERMIT:
        for attribute, sound in _SOUND.items():
            if row.get("when", {}).get(attribute) != [sound]:
                _refuse(f"{name}.when.{attribute}")
