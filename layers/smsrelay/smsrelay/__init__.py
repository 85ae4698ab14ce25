"""smsrelay sends each recipient the SMS once, or reports why it could not."""

__version__ = "0.2.0"
