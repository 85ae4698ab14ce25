"""Many requests while everything fails and workers are killed: does the promise hold?

It runs a deployed local stack, from outside; faults and invariants are those of the other tests.
"""
