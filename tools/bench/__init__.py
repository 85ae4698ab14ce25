"""Benchmarks, beside three others that do the same work, and simulations; never shipped."""
