"""How much is done for a piece: takes of which the best is kept, and the time that may be spent on them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints, field_validator

from audiocraft.config.budgets import BEST_TAKES, parse_budget
from audiocraft.config.limits import MOST_TAKES
from audiocraft.errors import InvalidInput


class EffortBody(BaseModel):
    """What a request says of how much is done for a piece. One with several takes is heard when all are made."""

    takes: Annotated[int, Field(ge=1, le=MOST_TAKES)] | None = Field(
        default=None,
        description="Of so many takes the one that is most like the request is kept, and heard once all are made; "
        "quotas count every one.",
    )
    budget: Annotated[str, StringConstraints(min_length=1, max_length=20)] | None = Field(
        default=None,
        description=f"A time such as 20s or 2min: as many takes as it allows, {BEST_TAKES} at most where `takes` does "
        f"not say so; the first is always finished. Or best: {BEST_TAKES} takes.",
        examples=["20s", "best"],
    )

    @field_validator("budget")
    @classmethod
    def _is_a_budget(cls, budget: str | None) -> str | None:
        if budget is None:
            return None
        try:
            found = parse_budget(budget)
        except InvalidInput as error:
            raise ValueError(f"budget: {error}") from error
        if found.goal == "realtime":
            raise ValueError(
                "budget: a piece of a server is heard while it is made, as fast as that goes; leave realtime out, or "
                "give a time such as 20s, or best"
            )
        return budget

    @property
    def most_takes(self) -> int:
        """Return how many takes there may be."""
        return self.takes or (1 if self.budget is None else BEST_TAKES)

    @property
    def budget_seconds(self) -> float | None:
        """Return the time in which takes may be begun; None: all are made."""
        found = None if self.budget is None else parse_budget(self.budget)
        return None if found is None or found.goal == "best" else found.seconds
