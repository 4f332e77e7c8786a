"""Who the server thinks one is, and the secret that webhooks are signed with."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from audiocraft.config.decode import encode
from audiocraft.server.api.deps import AnyCaller, GenerateCaller, ServicesDep
from audiocraft.server.api.responses import PROBLEMS

router = APIRouter(prefix="/v1", tags=["account"], responses=PROBLEMS)


class Account(BaseModel):
    """The answer says who calls."""

    owner: str = Field(description="The id of the key; `local` for people at the machine itself.")
    scopes: list[str]
    quota: dict[str, float | None] = Field(description="What may be used; null is no limit.")
    left: dict[str, float | None] = Field(
        description="What of it is left in this minute, on this day (UTC), and beside unfinished jobs."
    )


class WebhookSecret(BaseModel):
    """This secret checks the signatures of Standard Webhooks."""

    secret: str


@router.get("/account")
def account(services: ServicesDep, who: AnyCaller) -> Account:
    """Return who is asking, what they may do, and how much of it is left."""
    left = services.store.left(who.owner, who.quota)
    return Account(owner=who.owner, scopes=sorted(who.scopes), quota=encode(who.quota), left=encode(left))


@router.get("/webhooks/secret")
def webhook_secret(services: ServicesDep, who: GenerateCaller) -> WebhookSecret:
    """Return the secret that this caller's webhooks are signed with."""
    return WebhookSecret(secret=services.keys.webhook_secret(who.owner))
