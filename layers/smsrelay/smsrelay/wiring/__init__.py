"""Puts the parts together: built once per execution environment, at the first use.

There is one module for each kind of function. None imports another's, and what only an option or
one of several functions needs is imported where it is built: at a cold start each import costs.
"""
