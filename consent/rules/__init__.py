"""Tiers of rows over a case file: compiled once, evaluated per cell, combined into one decision that explains itself."""

from consent.rules.decision import CellRuling, Decision, Effect, Judgement, Obligation, Outcome
from consent.rules.evaluate import decide, judge, releasable
from consent.rules.policy import Policy, compile_policy, default_policy, load_policy

__all__ = [
    "CellRuling",
    "Decision",
    "Effect",
    "Judgement",
    "Obligation",
    "Outcome",
    "Policy",
    "compile_policy",
    "decide",
    "default_policy",
    "judge",
    "load_policy",
    "releasable",
]
