"""The operator's command `smsrelay`: look at what is not finished, and decide about it."""
