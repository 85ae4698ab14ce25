"""Time-outs of AWS calls."""

from typing import Final

from botocore.config import Config

# At most two attempts of 3 s: if a store hangs, time must be left to log a result that could not be
# stored (sender.RESERVED_SECONDS). Queues and tables normally respond within milliseconds.
AWS_CONFIG: Final = Config(
    connect_timeout=1,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=50,
    parameter_validation=False,  # AWS validates the same, and callers don't choose parameters
    user_agent="smsrelay",  # botocore builds its default for each call
)
# A send or a renewal waits for this call but doesn't need its result: one short attempt.
INVOKE_CONFIG: Final = Config(
    connect_timeout=1,
    read_timeout=1,
    retries={"total_max_attempts": 1},
    parameter_validation=False,
    user_agent="smsrelay",
)
