"""Sends SMS through MobileConnect with the smallest code that still validates requests."""
