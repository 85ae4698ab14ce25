"""Development tools, never shipped: local stack, simulator, benchmark, deployment, generators."""
