"""What can go wrong, by what the caller should do about it. Every error has this one root."""


class RelayError(Exception):
    """Root of the relay's errors."""


class NotJsonError(RelayError):
    """The body is no JSON document; the text says where and why, and repeats nothing of it."""


class TooLargeError(RelayError):
    """The body is larger than a request may be."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"a request holds at most {max_bytes} bytes")


class UnsupportedMediaTypeError(RelayError):
    """The body comes in a form that is not read; the text says in which one it should."""


class InvalidHeaderError(RelayError):
    """A header's value can't be used; the text says which and why."""


class LedgerUnavailableError(RelayError):
    """The ledger can't be written or read: nothing was sent, the caller should repeat."""


class UnreadableItemError(LedgerUnavailableError):
    """This version can't read an item of the ledger: a version that can has to be deployed."""

    def __init__(self, item: str, cause: str) -> None:
        """`item` is its key, `cause` the type of an error: the text contains no values."""
        super().__init__(f"this version can't read the item {item}: {cause}")


class InvalidQueryError(RelayError):
    """The parameters of a URL can't be used; the text says which and why."""


class IdempotencyKeyReusedError(RelayError):
    """The idempotency key belongs to another body: the caller should use a new key."""

    def __init__(self, message_id: str) -> None:
        super().__init__(f"the idempotency key belongs to message {message_id}, with another body")
        self.message_id = message_id


class RequestInProgressError(RelayError):
    """The first request with this key has not ended: the caller should repeat a little later."""

    def __init__(self, message_id: str) -> None:
        super().__init__(f"message {message_id} is being sent")
        self.message_id = message_id


class TooLateError(RelayError):
    """No send of the message can be cancelled any more."""

    def __init__(self, message_id: str) -> None:
        super().__init__(message_id)
        self.message_id = message_id


class NotFoundError(RelayError):
    """There is no such message, or it is another client's."""


class ClientNotRegisteredError(RelayError):
    """The caller's API key or IAM principal belongs to no registered client."""


class InvalidSignatureError(RelayError):
    """A webhook is not signed by the client that it names, if there is such a client."""


class RateLimitedError(RelayError):
    """The client has posted more recipients than it may: it should repeat this request later."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the client may go on in {retry_after} s")
        self.retry_after = retry_after


class TokenUnavailableError(RelayError):
    """There is no access token to call the upstream with: nothing was sent."""


class SecretUnavailableError(RelayError):
    """A secret can't be read or written; the text says why, and nothing of what is in it."""


class CredentialsUnusableError(RelayError):
    """The client credentials can't be used; the text says why, and repeats nothing of them."""


class CatalogueUnusableError(RelayError):
    """What is stored as the catalogue is none; the text says where and why."""


class QueueUnavailableError(RelayError):
    """The queue did not take a message."""


class PublishError(RelayError):
    """Somebody who wants to know of changes could not be told: all of them have to be repeated."""


class UnexpectedError(RelayError):
    """Something failed that nobody has foreseen; the text is the name of its type alone."""
