"""Evaluators: one question a module, all with one interface.

    evaluate(evidence) -> Iterator[Finding]

An evaluator yields what it can measure and nothing else: what it leaves out, the gate misses by name.
"""

from collections.abc import Iterator
from typing import Protocol

from tasks.evidence import Evidence
from tasks.findings import Finding


class Evaluator(Protocol):
    """What each module of this package is."""

    @property
    def METRICS(self) -> tuple[str, ...]:
        """The names of all metrics that it reports."""
        ...

    def evaluate(self, evidence: Evidence) -> Iterator[Finding]:
        """The findings that answer the module's question."""
        ...
