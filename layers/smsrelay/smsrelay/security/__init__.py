"""Redaction, allowed hosts, and webhook signatures. Pure."""
