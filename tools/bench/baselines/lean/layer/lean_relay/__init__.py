"""Sends SMS through MobileConnect with the least that still validates."""
