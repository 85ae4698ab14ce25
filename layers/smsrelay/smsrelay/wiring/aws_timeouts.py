"""How long the functions wait for AWS."""

from typing import Final

from botocore.config import Config

# Two tries of 3 s at most: a store that hangs must leave time to log what could not be stored
# (relay.RESERVED_SECONDS). Queues and tables answer within milliseconds.
AWS_CONFIG: Final = Config(
    connect_timeout=1,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=50,
    parameter_validation=False,  # AWS refuses the same, and nothing here is made up by callers
    user_agent="smsrelay",  # botocore's own is put together anew for each call
)
# A send or a renewal waits for this call, and nothing depends on it: one short try.
INVOKE_CONFIG: Final = Config(
    connect_timeout=1,
    read_timeout=1,
    retries={"total_max_attempts": 1},
    parameter_validation=False,
    user_agent="smsrelay",
)
