"""Errors as clients see them: one JSON shape, one place that knows which status each error has."""

import logging
import secrets
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from openmimo.errors import CapacityError, RequestError
from openmimo.server.lifetime import ServerEndingError

__all__ = ["add_error_handlers", "problem", "problem_body"]

log = logging.getLogger("openmimo.server")

STATUS_OF_CODE = {
    "body_too_large": 413,
    "body_too_slow": 408,
    "model_not_found": 404,
    "unsupported_media_type": 415,
}
"""Codes of `RequestError` whose status is not 400."""

RETRY_AFTER_S = "1"


def problem_body(error: Exception) -> tuple[int, dict[str, Any]]:
    """Turn an exception into a status and an error body.

    What the client may see is the text of our own request and capacity errors. Anything else is logged under a random
    id, and the client is told only the id.

    Args:
        error: what was raised.
    Returns:
        HTTP status, and `{"error": {"message", "type", "code", "param"}}`.
    """
    if isinstance(error, RequestError):
        status = STATUS_OF_CODE.get(error.code, 400)
        return status, _body(str(error), "invalid_request_error", error.code, error.param)
    if isinstance(error, CapacityError):
        return 429, _body(str(error), "overloaded_error", "overloaded")
    if isinstance(error, ServerEndingError):
        return 503, _body(str(error), "server_error", "shutting_down")
    error_id = secrets.token_hex(4)
    log.error("internal error %s", error_id, exc_info=error)
    return 500, _body(f"internal error {error_id}: the server's log has the details", "server_error", "internal_error")


def problem(status: int, message: str, code: str, kind: str = "invalid_request_error") -> JSONResponse:
    """Build an error response for what is refused before a route sees it.

    Args:
        status: HTTP status.
        message: what was given, what is allowed, what to do.
        code: stable machine-readable code.
        kind: the error's `type`.
    Returns:
        the response.
    """
    return JSONResponse(_body(message, kind, code), status)


def add_error_handlers(app: FastAPI) -> None:
    """Make every error of `app`, unknown routes included, answer in the one shape.

    Args:
        app: gets the handlers.
    """
    app.add_exception_handler(RequestError, _answer)
    app.add_exception_handler(CapacityError, _answer)
    app.add_exception_handler(ServerEndingError, _answer)
    app.add_exception_handler(Exception, _answer)
    app.add_exception_handler(HTTPException, _answer_http)


def _body(message: str, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "code": code, "param": param}}


async def _answer(request: Request, error: Exception) -> Response:
    status, body = problem_body(error)
    return JSONResponse(body, status, headers={"Retry-After": RETRY_AFTER_S} if status in (429, 503) else None)


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    if error.status_code == 404:
        return problem(404, f"there is no route {where}", "not_found")
    if error.status_code == 405:
        return problem(405, f"{where} is not allowed", "method_not_allowed")
    return problem(error.status_code, error.detail, "http_error")
