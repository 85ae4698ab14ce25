"""Builds the parts of each function, once per execution environment.

Each kind of function has a module. Parts that only some deployments or functions need are imported
where they are built, because each import makes a cold start slower.
"""
