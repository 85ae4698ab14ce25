"""Helpers that several tests use: fakes, events, and the functions in process."""
