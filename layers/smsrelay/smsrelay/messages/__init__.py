"""What a client may post: strict JSON, its rules, and the upstream calls that it becomes. Pure."""
