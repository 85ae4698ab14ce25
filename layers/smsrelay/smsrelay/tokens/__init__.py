"""The access token: when it is renewed, and the token endpoint's response. Pure."""
