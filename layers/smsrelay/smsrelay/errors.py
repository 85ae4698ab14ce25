"""The relay's errors. `services.problem_documents` maps them to responses."""


class RelayError(Exception):
    """Base class of the relay's errors."""


class NotJsonError(RelayError):
    """The body is not JSON; the text says where and why, without parts of the body."""


class TooLargeError(RelayError):
    """The body exceeds the size limit of a request."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"a request holds at most {max_bytes} bytes")


class UnsupportedMediaTypeError(RelayError):
    """The body's media type, charset or encoding is not supported; the text has the right one."""


class InvalidHeaderError(RelayError):
    """A header's value is invalid; the text says which one and why."""


class LedgerUnavailableError(RelayError):
    """The ledger or the message catalogue is unavailable; the caller should retry."""


class UnreadableItemError(LedgerUnavailableError):
    """This version can't read an item of the ledger: deploy a version that can."""

    def __init__(self, item: str, cause: str) -> None:
        """`item` is the item's key, `cause` the type of an error: the text contains no values."""
        super().__init__(f"this version can't read the item {item}: {cause}")


class InvalidQueryError(RelayError):
    """A parameter of the URL is invalid; the text says which one and why."""


class IdempotencyKeyReusedError(RelayError):
    """The idempotency key belongs to another body: the caller should use a new key."""

    def __init__(self, message_id: str) -> None:
        super().__init__(f"the idempotency key belongs to message {message_id}, with another body")
        self.message_id = message_id


class RequestInProgressError(RelayError):
    """The first request with this key has not ended: the caller should retry a little later."""

    def __init__(self, message_id: str) -> None:
        super().__init__(f"message {message_id} is being sent")
        self.message_id = message_id


class TooLateError(RelayError):
    """No send of the message can be cancelled."""

    def __init__(self, message_id: str) -> None:
        super().__init__(message_id)
        self.message_id = message_id


class NotFoundError(RelayError):
    """The message does not exist, or belongs to another client."""


class ClientNotRegisteredError(RelayError):
    """The caller's API key or IAM principal belongs to no registered client."""


class InvalidSignatureError(RelayError):
    """A webhook is not signed by its client, or the client does not exist."""


class RateLimitedError(RelayError):
    """The client has exceeded its limit of recipients: it should retry the request later."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the client may retry in {retry_after} s")
        self.retry_after = retry_after


class TokenUnavailableError(RelayError):
    """No access token is available, so nothing was sent."""


class SecretUnavailableError(RelayError):
    """A secret can't be read or written; the text says why, without values of the secret."""


class CredentialsUnusableError(RelayError):
    """The client credentials are invalid; the text says why, without their values."""


class CatalogueUnusableError(RelayError):
    """The SSM parameter does not contain a valid catalogue; the text says where and why."""


class QueueUnavailableError(RelayError):
    """The queue did not accept a message."""


class PublishError(RelayError):
    """The bus did not accept all events: publish all of them again."""


class UnexpectedError(RelayError):
    """An unexpected exception; the text is only the name of its type."""
