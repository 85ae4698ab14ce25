"""Development tools: local stack, simulator, soak test, generators. Never shipped."""
