"""A send is one call of the upstream: its states, its outcome, and when it is retried. Pure."""
