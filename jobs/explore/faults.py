"""What went wrong, as one line of JSON and the status that says whose fault it is."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from jobs.explore.model import NotReadyError
from schemas.errors import AssetError, EmbedlakeError, ErrorCode, UsageError

REQUEST_SECONDS = 90.0
"""No request takes longer."""
_STATUS = {
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.UNSUPPORTED: 404,
    ErrorCode.ACCESS_DENIED: 403,
    ErrorCode.SOURCE_NOT_ALLOWED: 403,
    ErrorCode.CHANGED: 410,
    ErrorCode.STORAGE: 502,
}
_FLAG = re.compile(r"^--where '.*?': |Invalid user input: ", re.DOTALL)


async def _line(status: int, _request: Request, error: Exception) -> Response:
    # The library names the flag of a command that a page does not have.
    return JSONResponse({"error": _FLAG.sub("", str(error))}, status)


async def _asset_error(_request: Request, error: AssetError) -> Response:
    return JSONResponse({"error": error.detail, "code": error.code}, _STATUS.get(error.code, 422))


async def _http(_request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code)


async def _late(_request: Request, _error: TimeoutError) -> Response:
    return JSONResponse({"error": f"it took more than {REQUEST_SECONDS:.0f} seconds"}, 504)


async def _unforeseen(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"an unforeseen fault: {type(error).__name__}"}, 500)


HANDLERS: dict[Any, Any] = {
    AssetError: _asset_error,
    NotReadyError: partial(_line, 503),
    UsageError: partial(_line, 400),
    EmbedlakeError: partial(_line, 502),
    TimeoutError: _late,
    HTTPException: _http,
    Exception: _unforeseen,
}
