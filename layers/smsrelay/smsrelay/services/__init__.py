"""The use cases, one for each function. They use adapters through the ports only."""
