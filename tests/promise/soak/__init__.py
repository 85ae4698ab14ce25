"""The soak: posts many requests while calls fail and workers are killed, and checks the promise.

It tests a deployed local stack from outside, with the faults and invariants of the other tests.
"""
