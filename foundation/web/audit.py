"""Checkpoints of the audit log and proofs from its tree over HTTP. They hold hashes and numbers only, so reading them is not audited."""

from typing import Any

from marshmallow import fields, validate

from foundation.errors import NotFound
from foundation.ids import parse_id
from foundation.sealing.prove import list_checkpoints, prove_consistency, prove_inclusion
from foundation.web.access import current_principal, requires
from foundation.web.openapi import make_blueprint
from foundation.web.paging import PageQuery, make_page, page_schema, read_cursor
from foundation.web.schemas import IdText, Instant, QuerySchema, Schema, Text
from foundation.web.shell import shell

READER = "audit:read"

audit_tree = make_blueprint("audit", description="What the audit log said, and the proof of it")

_HASH = {"pattern": "^[0-9a-f]{64}$"}
_LARGEST = 2**53 - 1  # what JSON numbers hold exactly


def _size(**kwargs: Any) -> fields.Integer:
    return fields.Integer(validate=validate.Range(1, _LARGEST), **kwargs)


class CheckpointSchema(Schema):
    """The tree at an instant; ``note`` is what was signed, with its signature, as a C2SP signed note."""

    tree_size = fields.Integer()
    root = fields.String(metadata=_HASH)
    at = Instant()
    key_id = fields.String(metadata={"description": "RFC 7638 thumbprint of the public key"})
    public_key = fields.Dict(keys=fields.String(), values=fields.String(), allow_none=True)
    note = fields.String()


class ProofQuery(QuerySchema):
    leaf_hash = Text(
        64,
        load_default=None,
        validate=validate.Regexp(r"[0-9a-f]{64}\Z", error="leaf-hash-format"),
        metadata=_HASH
        | {"description": "What the asker holds of the row; needed without the scope audit:read"},
    )
    tree_size = _size(load_default=None, metadata={"description": "Of the checkpoint; the newest without it"})


class ProofSchema(Schema):
    """RFC 6962: the path leads from the leaf at its index to the root of the checkpoint."""

    event_id = IdText()
    leaf_index = fields.Integer()
    leaf_hash = fields.String(metadata=_HASH)
    path = fields.List(fields.String(metadata=_HASH))
    checkpoint = fields.Nested(CheckpointSchema)


class ConsistencyQuery(QuerySchema):
    first = _size(required=True)
    second = _size(required=True)


class ConsistencySchema(Schema):
    """RFC 6962: the tree of ``first`` leaves is the beginning of that of ``second``."""

    first = fields.Integer()
    second = fields.Integer()
    first_root = fields.String(metadata=_HASH)
    second_root = fields.String(metadata=_HASH)
    path = fields.List(fields.String(metadata=_HASH))


@audit_tree.get("/audit/checkpoints")
@requires(READER)
@audit_tree.arguments(PageQuery, location="query")
@audit_tree.response(200, page_schema(CheckpointSchema))
def checkpoints(query: dict[str, Any]) -> Any:
    """List signed checkpoints, the newest first. Whoever keeps them can show later that the log was rewritten."""
    place = read_cursor(query["cursor"], int)
    with shell().db.read() as tx:
        found = list_checkpoints(tx, below=place[0] if place else None, limit=query["limit"] + 1)
    return make_page(found, query["limit"], lambda one: [one.tree_size])


@audit_tree.get("/audit/consistency")
@requires(READER)
@audit_tree.arguments(ConsistencyQuery, location="query")
@audit_tree.response(200, ConsistencySchema)
def consistency(query: dict[str, Any]) -> Any:
    """Prove that the log of one size is the beginning of the log of another."""
    with shell().db.read() as tx:
        return prove_consistency(tx, query["first"], query["second"])


@audit_tree.get("/audit/events/<event_id>/proof")
@requires()
@audit_tree.arguments(ProofQuery, location="query")
@audit_tree.response(200, ProofSchema)
def proof(query: dict[str, Any], event_id: str) -> Any:
    """Prove that a row is in the log. Who holds its leaf hash may ask, as every receipt does; with the scope audit:read it is not needed.

    A new row is sealed within a minute: until then the answer is 404.
    """
    number = parse_id(event_id, "event_id")
    if query["leaf_hash"] is None and READER not in current_principal().scopes:
        raise NotFound("audit-event-unknown", detail="Give the leaf hash of the receipt.")
    with shell().db.read() as tx:
        return prove_inclusion(tx, number, leaf_hash=query["leaf_hash"], tree_size=query["tree_size"])
