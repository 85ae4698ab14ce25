"""The operator's command `smsrelay`.

It finds and changes sends and dead letters, and manages clients, the catalogue and the client
secret.
"""
