"""How changes of what is in force, and the versions that are known, are told over HTTP."""

from collections.abc import Mapping

from marshmallow import fields

from foundation.changes import ROLL_BACK, STATES
from foundation.web.schemas import Code, IdText, Instant, Schema

Fields = Mapping[str, fields.Field]  # type: ignore[type-arg]


def known_schema(name: str, never: str, more: Fields | None = None) -> type[Schema]:
    """Return the schema of a version that is known.

    Args:
        never: the state of one that was never in force.
        more: what stands behind its name.
    """
    told: dict[str, fields.Field] = {  # type: ignore[type-arg]
        "revision": fields.String(),
        "name": fields.String(),
        **(more or {}),
        "state": Code(("in-force", "approved", "proposed", "past", never)),
        "since": Instant(allow_none=True),
        "until": Instant(allow_none=True),
        "proposed_by": fields.String(allow_none=True),
        "approved_by": fields.String(allow_none=True),
    }
    return Schema.from_dict(told, name=name)  # type: ignore[return-value]


def change_schema(name: str, kind: str, figures: Fields, more: Fields | None = None) -> type[Schema]:
    """Return the schema of a change.

    Args:
        figures: what was found of it beforehand, and what belongs to that.
        more: what stands behind the name of the version.
    """
    told: dict[str, fields.Field] = {  # type: ignore[type-arg]
        "change_id": IdText(),
        "kind": Code((kind, ROLL_BACK)),
        "state": Code(STATES),
        "revision": fields.String(),
        "name": fields.String(),
        **(more or {}),
        "from_revision": fields.String(),
        "comment": fields.String(allow_none=True),
        **figures,
        "proposed_by": fields.String(),
        "proposed_at": Instant(),
        "approved_by": fields.String(allow_none=True),
        "approved_at": Instant(allow_none=True),
        "withdrawn_by": fields.String(allow_none=True),
        "withdrawn_at": Instant(allow_none=True),
        "done_by": fields.String(allow_none=True),
        "done_at": Instant(allow_none=True),
    }
    return Schema.from_dict(told, name=name)  # type: ignore[return-value]
