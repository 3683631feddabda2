"""What is known when a decision is made: directives, agreements, relationships, sensitivity, and the request itself."""

from consent.facts.agreements import Agreement
from consent.facts.case import CaseFile, EmergencyGrant, SourceSetting
from consent.facts.directives import Directive, Scope
from consent.facts.opt_out import OptOutAnswer, OptOutEvidence, OptOutState
from consent.facts.relationships import Relationship
from consent.facts.requests import Actor, Request, Subject
from consent.facts.sensitivity import Cell, every_cell

__all__ = [
    "Actor",
    "Agreement",
    "CaseFile",
    "Cell",
    "Directive",
    "EmergencyGrant",
    "OptOutAnswer",
    "OptOutEvidence",
    "OptOutState",
    "Relationship",
    "Request",
    "Scope",
    "SourceSetting",
    "Subject",
    "every_cell",
]
