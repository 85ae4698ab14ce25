"""The use cases, one for each function, over the ports."""
