"""Development tools: local stack, simulator, benchmark, first contact, deployment, generators. Never shipped."""
