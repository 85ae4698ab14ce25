"""The functions' use cases, and what they share. They use adapters through the ports only."""
