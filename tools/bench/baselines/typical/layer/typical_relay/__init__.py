"""Sends SMS through MobileConnect, once for each idempotency key."""
