"""The environment variables of the functions, as the template gives them."""

STACK_NAME = "smsrelay-test"


def variables(
    *, table: str, queue_url: str, dead_letter_queue_url: str, token_secret: str, **others: str
) -> dict[str, str]:
    """Those of a relay with these parts; `others` are added, or take a default's place.

    tests/template holds the names to the template and to the settings.
    """
    return {
        "TABLE_NAME": table,
        "QUEUE_URL": queue_url,
        "DEAD_LETTER_QUEUE_URL": dead_letter_queue_url,
        "TOKEN_SECRET_ARN": token_secret,
        "REST_BASE_URL": "",
        "DEFAULT_CLIENT": "internal",
        "RETENTION_DAYS": "90",
        "MAX_ATTEMPTS": "4",
        "MAX_AGE_HOURS": "24",
        "UPSTREAM_TIMEOUT_SECONDS": "2",
        "CONCURRENT_SENDS": "10",
        "DELIVERY_CALLS_PER_MINUTE": "0",
        "RECIPIENT_RESULTS": "off",
        "UPSTREAM_HOSTS": "http://127.0.0.1",
        "POWERTOOLS_SERVICE_NAME": STACK_NAME,
        "POWERTOOLS_METRICS_NAMESPACE": "smsrelay",
        **others,
    }
