"""Benchmarks: smsrelay beside three others that do the same work; never shipped."""
