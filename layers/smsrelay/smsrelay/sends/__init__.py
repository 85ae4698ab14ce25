"""Rules for sends: ids, states, outcomes of calls, retries, polls and events. No I/O."""
