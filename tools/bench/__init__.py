"""Benchmarks of smsrelay and of baselines that do the same work. Never shipped."""
