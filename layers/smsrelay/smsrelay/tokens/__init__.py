"""The access token: when it must be renewed, and what the token endpoint answers. Pure."""
