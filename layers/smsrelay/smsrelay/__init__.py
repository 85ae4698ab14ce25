"""smsrelay: every recipient gets the SMS once, or somebody is told why not."""

__version__ = "0.1.0"
