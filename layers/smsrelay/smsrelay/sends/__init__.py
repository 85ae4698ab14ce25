"""Sends: their states, the outcomes of their calls, and when they are retried. Pure."""
