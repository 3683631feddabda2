"""Match models over HTTP: which is in force, and what one person proposes and another approves. Doing it is an operator's command."""

from typing import Any

from flask_smorest import Blueprint

from foundation.web import current_principal, make_blueprint, requires
from mpi.service import models
from mpi.service.context import Mpi
from mpi.web.schemas import (
    Loaded,
    ModelChangeSchema,
    ModelsSchema,
    ProposeModelSchema,
    RollBackSchema,
)


def make(mpi: Mpi) -> Blueprint:
    room = make_blueprint(
        "models", "/api/v1/models", "The match model in force, and its changes by two people"
    )

    @room.route("", methods=["GET"])
    @room.response(200, ModelsSchema)
    @requires("tasks:read")
    def list_models() -> Any:
        """List the models that were ever proposed or in force, and every change, the newest first.

        An open change says how much of the index has changed since its forecast was made.
        """
        return models.list_models(mpi)

    @room.route("", methods=["POST"])
    @room.arguments(ProposeModelSchema)
    @room.response(201, ModelChangeSchema)
    @requires("tasks:work")
    def propose_model(body: Loaded) -> Any:
        """Keep a model's document and ask for a second person's approval; nothing else changes. For people, not for systems.

        ``forecast`` is what `mpi forecast --json` printed of this model.
        """
        return models.propose_model(
            mpi,
            models.read_model(body["model"]),
            current_principal(),
            forecast=body.get("forecast"),
            comment=body.get("comment"),
        )

    @room.route("/roll-back", methods=["POST"])
    @room.arguments(RollBackSchema)
    @room.response(201, ModelChangeSchema)
    @requires("tasks:work")
    def propose_roll_back(body: Loaded) -> Any:
        """Ask for a second person's approval to go back to the model before the one in force. For people, not for systems."""
        return models.propose_roll_back(mpi, current_principal(), comment=body.get("comment"))

    @room.route("/<revision>/approve", methods=["POST"])
    @room.response(200, ModelChangeSchema)
    @requires("tasks:work")
    def approve_model(revision: str) -> Any:
        """Approve what another person proposed. `mpi model activate` then does it."""
        return models.approve_model(mpi, revision, current_principal())

    @room.route("/<revision>/withdraw", methods=["POST"])
    @room.response(200, ModelChangeSchema)
    @requires("tasks:work")
    def withdraw_model(revision: str) -> Any:
        """Take back what was proposed, approved or not; one person is enough to say no."""
        return models.withdraw_model(mpi, revision, current_principal())

    return room
