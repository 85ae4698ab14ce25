"""What must not leave the relay, and which hosts it may call. Pure."""
