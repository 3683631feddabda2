"""What is known when a decision is made: directives, agreements, relationships, sensitivity, and the request itself."""

from consent.facts.agreements import Agreement
from consent.facts.case import CaseFile, EmergencyGrant, OptOutEvidence, SourceSetting
from consent.facts.directives import Directive, Scope
from consent.facts.relationships import Relationship
from consent.facts.requests import Actor, Request, Subject
from consent.facts.sensitivity import Cell

__all__ = [
    "Actor",
    "Agreement",
    "CaseFile",
    "Cell",
    "Directive",
    "EmergencyGrant",
    "OptOutEvidence",
    "Relationship",
    "Request",
    "Scope",
    "SourceSetting",
    "Subject",
]
