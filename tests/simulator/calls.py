"""The message id, token and number of the simulator's tests."""

ID = "MzA6Nzg6MA"
TOKEN = "a-known-token"
NUMBER = "13175550100"
