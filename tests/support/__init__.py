"""What tests share: fakes, events, and the functions in process."""
