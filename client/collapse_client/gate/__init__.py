"""Conditions on the measurements of a run, such as `rank(head.2) >= 9`: is a training still what it should be."""

from collapse_client.gate.grammar import Condition, parse
from collapse_client.gate.verdicts import Verdict, check

__all__ = ["Condition", "Verdict", "check", "parse"]
