"""Sends SMS through MobileConnect: never twice automatically, never lost, always findable."""

__version__ = "0.2.0"
