"""Parses and validates posted requests, and builds the upstream calls from them. Pure."""
