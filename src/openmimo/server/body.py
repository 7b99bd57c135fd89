"""Reading a request body: declared as JSON, not too large, not too slow, then checked by its model."""

import asyncio

from starlette.requests import Request

from openmimo.errors import RequestError
from openmimo.server.schema import Model, read_request

__all__ = ["read_body"]

MAX_BODY_BYTES = 2 * 1024 * 1024
BODY_TIMEOUT_S = 30.0


async def read_body(request: Request, model: type[Model]) -> Model:
    """Read and check a JSON body.

    Args:
        request: its body is consumed.
        model: what the body must be.
    Returns:
        the checked body.
    Raises:
        RequestError: too large (413), too slow (408), not declared as JSON (415), not JSON or a wrong field (400).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        message = f"Content-Type {kind or 'missing'!r}: send application/json"
        raise RequestError(message, code="unsupported_media_type")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            raw = await _read_capped(request)
    except TimeoutError:
        raise RequestError(f"the body did not arrive within {BODY_TIMEOUT_S:g} s", code="body_too_slow") from None
    return read_request(model, raw)


async def _read_capped(request: Request) -> bytes:
    too_large = RequestError(f"the body may be at most {MAX_BODY_BYTES} bytes", code="body_too_large")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > MAX_BODY_BYTES:
        raise too_large
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > MAX_BODY_BYTES:
            raise too_large
    return bytes(raw)
