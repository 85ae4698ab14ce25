"""First contact: finds out which assumptions about Marketing Cloud are true."""
