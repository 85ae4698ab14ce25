"""The soak: many requests while everything fails and workers are killed; does the promise hold?

`plan` says what is posted and what goes wrong, `storm` does it, `evidence` looks at all the ends,
and `verdict` judges them, from outside.
"""
