"""The operator's command `smsrelay`: finds unfinished sends and dead letters, and changes them."""
