"""What is not served, said as OpenAI says it."""

from typing import Any


class Refused(Exception):
    """An answer with a status that is not 200; `param` is the field of the request that is at fault."""

    def __init__(self, message: str, param: str | None = None, status: int = 400, code: str | None = None):
        super().__init__(message)
        self.message, self.param, self.status, self.code = message, param, status, code

    def body(self) -> dict[str, Any]:
        """The object `error` of OpenAI's API."""
        return {"error": {"message": self.message, "type": kind(self.status), "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """Retry-After, in seconds, where another try may help."""
        return {"Retry-After": RETRY_S} if self.status in (429, 503) else {}


RETRY_S = "1"
KINDS = {401: "authentication_error", 429: "rate_limit_error", 503: "overloaded_error", 504: "timeout_error"}


def kind(status: int) -> str:
    return KINDS[status] if status in KINDS else "server_error" if status >= 500 else "invalid_request_error"
