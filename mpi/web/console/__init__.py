"""The index's part of the console: the review queue and its tasks, people, quality and match models."""

from pathlib import Path

from flask import Flask

from foundation.principal import Principal
from foundation.web import ConsoleLink, add_console_link, leave_evenly
from foundation.web.pages import Card, add_cards, add_panel, add_said, add_templates
from mpi.service.context import Mpi
from mpi.service.desk import read_desk
from mpi.service.review import SEES_PROTECTED
from mpi.web.console import bulk, home, people, quality, queue, review

__all__ = ["install_console"]

_SAID = {
    "task-claimed": "You hold this task for half an hour",
    "task-released": "The task is free again",
    "task-decided": "Your answer stands",
    "task-second-reader": "Your answer waits for a second reader, who is shown nothing of it",
    "task-disagreed": "You and the first reader disagree: the regional team decides",
    "task-refused": "Your answer stands, but something still keeps them apart",
    "task-undone": "The decision was taken back: all stands as it would without it",
    "task-commented": "Your comment was kept",
    "task-escalated": "The task was handed on",
    "task-given-back": "The task goes to whom it would have gone without being handed on",
    "task-deferred": "The task was put off; new evidence brings it back sooner",
    "task-resumed": "The task is in the queue again",
    "question-withdrawn": "The question was taken back",
    "question-asked": "The question is in the review queue: this is what its answers would change",
    "persons-are-one": "They are one person already",
    "bulk-decided": "The tasks were answered",
    "model-proposed": "It waits for a second person",
    "model-approved": "It is approved: an operator does it now",
    "model-withdrawn": "The proposal was taken back",
    "view-kept": "The view was kept",
    "view-dropped": "The view was forgotten",
    "queue-empty": "Nothing of this waits for you now",
}


def install_console(app: Flask, mpi: Mpi) -> None:
    """Add the index's pages to the console."""
    add_templates(app, Path(__file__).resolve().parent.parent / "templates")
    for part in (queue, review, bulk, people, quality):
        room = part.make(mpi)
        leave_evenly(room, unless=SEES_PROTECTED)
        app.register_blueprint(room)
    add_console_link(app, ConsoleLink("Review queue", "/tasks", "tasks:read"))
    add_console_link(app, ConsoleLink("Restricted people", "/restricted", "restricted:read"))
    add_console_link(app, ConsoleLink("Find a person", "/persons", "persons:read"))
    add_console_link(app, ConsoleLink("Data quality", "/quality", "quality:read"))
    add_console_link(app, ConsoleLink("Match model", "/models", "tasks:read"))
    add_said(app, _SAID)

    def cards(by: Principal) -> list[Card]:
        desk = read_desk(mpi, by)
        return [
            Card("Tasks that I hold", "/tasks?whose=mine", "Finish them, or give them back", len(desk.mine)),
            Card("Review queue", "/tasks", "Open tasks, the worst first", desk.open_count),
        ]

    add_cards(app, "tasks:read", cards)
    add_panel(app, "tasks:read", lambda by: home.panel_of(mpi, by))
