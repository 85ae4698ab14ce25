"""First contact: find out which assumptions about Marketing Cloud are true."""
