"""What the simulator's tests call it with."""

ID = "MzA6Nzg6MA"
TOKEN = "a-known-token"
NUMBER = "13175550100"
