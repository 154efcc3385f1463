"""A plan as it is written, with every section that a test does not ask for."""

import datetime as dt
from typing import Any

from tasks.plan import SECTIONS

NOTHING = {"none": "not in this test"}
HEAD: dict[str, Any] = {"version": 1, "use_case": "u", "owner": "o", "review_by": dt.date(2027, 1, 1), "level": 0.95}


def plan_document(*criteria: dict[str, Any], **head: Any) -> dict[str, Any]:
    """The criteria stand in the section `standard`; `head` adds keys or replaces them."""
    rest: dict[str, Any] = dict.fromkeys(("reuse", "stop", "costs", *SECTIONS), NOTHING)
    return {**HEAD, **rest, **({"standard": list(criteria)} if criteria else {}), **head}
