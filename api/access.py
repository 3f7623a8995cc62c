"""Who asks, and what they may do: the key of a request, its scopes, its rate."""

import ipaddress
import secrets
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.errors import ApiError
from api.services import Services, ServicesDependency
from jobs.keys import ADMIN, INCLUDED, READ, SCOPES, WRITE, digest
from jobs.tables import OWNER_WITHOUT_KEYS

LOOKING: Final = frozenset({"GET", "HEAD"})
OPERATOR: Final = "operator"
"""Under this name the requests with the operator's key are counted."""
_bearer = HTTPBearer(
    auto_error=False,
    description="A key of `collapse keys create`, or the service's COLLAPSE_API_KEY. Without either, the service "
    "answers nobody but its own machine, and needs none.",
)


@dataclass(frozen=True)
class Caller:
    """Who asks. Of others' things they learn not even whether there are any."""

    owner: str
    scopes: frozenset[str]
    key_id: str | None = None
    requests_per_minute: int | None = None

    def require(self, scope: str) -> None:
        """Raise 403 unless the key has the scope."""
        if scope not in self.scopes:
            raise ApiError(
                403,
                "forbidden",
                f"This needs a key with the scope {scope!r}; yours has {', '.join(sorted(self.scopes))}. "
                f"`collapse keys create --scopes {scope}` makes one.",
            )


EVERYBODY: Final = Caller(OWNER_WITHOUT_KEYS, frozenset(SCOPES))


def authenticated(
    request: Request,
    services: ServicesDependency,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    """Whoever sent the request, counted; 401 where a key is needed and none, or no good one, came."""
    found = _caller(request, services, credentials.credentials if credentials else None)
    _count(request, services, found)
    if found is None:
        raise ApiError(
            401,
            "unauthorized",
            "Send a key of this service that is neither revoked nor expired, as 'Authorization: Bearer <key>'.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    request.state.caller, request.state.owner = found, found.owner
    return found


def _caller(request: Request, services: Services, key: str | None) -> Caller | None:
    operators = services.settings.api_key
    if key is not None:
        if operators and secrets.compare_digest(digest(key), digest(operators.get_secret_value())):
            return EVERYBODY
        if row := services.keys.find(key):
            scopes = frozenset().union(*(INCLUDED[scope] for scope in row.scopes))
            return Caller(row.owner, scopes, row.id, row.requests_per_minute)
    # Who made a key does not want to be asked without one any more.
    return EVERYBODY if not operators and _on_this_machine(request) and not services.keys.any() else None


def _on_this_machine(request: Request) -> bool:
    return request.client is None or ipaddress.ip_address(request.client.host).is_loopback


def _count(request: Request, services: Services, caller: Caller | None) -> None:
    """Refuse what is too much. Wrong keys are counted by address, like everybody where there are no keys."""
    per_minute = (caller and caller.requests_per_minute) or services.settings.requests_per_minute
    if per_minute is None:
        return
    if caller is None or (caller is EVERYBODY and not services.settings.api_key):
        whom = f"address {request.client.host if request.client else ''}"
    else:
        whom = f"key {caller.key_id or OPERATOR}"
    rate = services.rate_limits.count(whom, per_minute=per_minute)
    if rate is None:
        return
    request.state.answer_headers = rate.headers()
    if not rate.admitted:
        raise ApiError(
            429,
            "rate_limited",
            f"{rate.limit} requests a minute are allowed. Ask again in {max(1, rate.reset_seconds)} s, or less often: "
            "GET /v1/jobs/{id}?wait=60 and its events answer when something happens.",
        )


async def caller(request: Request, found: Annotated[Caller, Depends(authenticated)]) -> Caller:
    """Whoever sent the request, if they may: look with the scope read, change with the scope write."""
    found.require(READ if request.method in LOOKING else WRITE)
    return found


async def administrator(found: Annotated[Caller, Depends(authenticated)]) -> Caller:
    """Whoever sent the request, if their key has the scope admin."""
    found.require(ADMIN)
    return found


CallerDependency = Annotated[Caller, Depends(caller)]


def still_admitted(services: Services, caller: Caller) -> bool:
    """Whether the key of a request that is being answered for long is neither revoked nor expired by now."""
    return caller.key_id is None or services.keys.is_active(caller.key_id)
