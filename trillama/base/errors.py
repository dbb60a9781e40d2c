"""The one family of errors: each carries an HTTP status and a stable code.

Raised on any floor, turned into a dialect's body by ``api/errors.py`` alone. Foreign errors
(llama.cpp return codes, OSError, msgspec) are translated where they enter. Code matches on the
class or on ``code``, never on the message.
"""

from __future__ import annotations


class TrillamaError(Exception):
    """Base of every error a client may be told about.

    Attributes:
        status: HTTP status that fits the error when no byte of an answer was written yet.
        code: short machine-readable name, stable across releases.
    """

    status: int = 500
    code: str = "internal_error"

    @property
    def message(self) -> str:
        """The text shown to the client."""
        return str(self)


class BadRequest(TrillamaError):
    """The request is malformed or asks for something impossible."""

    status = 400
    code = "bad_request"


class BadField(BadRequest):
    """One field of the request is at fault.

    Attributes:
        field: its name, with dots and indexes where it lies deeper; dialects that can, tell it.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class InvalidName(BadRequest):
    """A text that should name a model cannot."""

    code = "invalid_name"

    def __init__(self, message: str = "invalid model name") -> None:
        super().__init__(message)


class Unsupported(BadRequest):
    """A known feature that this model or this version cannot do; never ignored in silence."""

    code = "unsupported"


class UnsupportedField(BadField, Unsupported):
    """A field that is known and cannot be honoured; the message names it."""

    def __init__(self, field: str, why: str = "not supported by this version of trillama") -> None:
        super().__init__(field, f"{why}: {field}")


class PromptTooLong(BadRequest):
    """The prompt needs more positions than the request may use.

    Attributes:
        prompt_tokens: tokens of the prompt as sent, or so many at least where it was not counted.
        limit: positions available to the request (its ``num_ctx`` or the pool, the smaller).
    """

    code = "context_length_exceeded"

    def __init__(self, prompt_tokens: int, limit: int, *, at_least: bool = False) -> None:
        count = f"at least {prompt_tokens}" if at_least else prompt_tokens
        super().__init__(
            f"the prompt has {count} tokens but the context holds {limit}; "
            "shorten it, raise num_ctx, or ask for truncation"
        )
        self.prompt_tokens = prompt_tokens
        self.limit = limit


class NotFound(TrillamaError):
    """The named model or blob does not exist."""

    status = 404
    code = "not_found"


class Cancelled(TrillamaError):
    """The client left, or the job was withdrawn before its end."""

    status = 499
    code = "cancelled"


class Busy(TrillamaError):
    """Too many requests wait already.

    Attributes:
        retry_after: whole seconds after which a place is likely, for the Retry-After header.
    """

    status = 503
    code = "busy"

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = max(1, retry_after)


class ShuttingDown(Busy):
    """The server drains and takes no new work."""

    code = "shutting_down"

    def __init__(self, message: str = "the server is shutting down", retry_after: int = 5) -> None:
        super().__init__(message, retry_after)


class ModelLoadError(TrillamaError):
    """A model file could not be turned into a running engine."""

    code = "model_load_failed"


class EngineDied(ModelLoadError):
    """llama.cpp ended a child process that only tried to use it."""

    code = "engine_died"


class CorruptModel(ModelLoadError):
    """A model file is damaged, truncated or lies about its sizes; llama.cpp never saw it."""

    code = "corrupt_model"


class EngineError(TrillamaError):
    """llama.cpp failed while working for a request."""

    code = "engine_error"


class StalledReader(TrillamaError):
    """The client stopped reading for longer than the stall limit."""

    status = 408
    code = "stalled_reader"


class SettingError(TrillamaError):
    """A setting has a malformed value; the message names the variable."""

    code = "bad_setting"


class StoreError(TrillamaError):
    """The models folder cannot be read or written; the message says which file and why."""

    code = "store_error"


class StoreFull(StoreError):
    """Not enough free space for what is to be written."""

    status = 507
    code = "store_full"


class TemplateError(TrillamaError):
    """A model's chat template is broken, or costs more than a prompt may."""

    code = "template_error"
