"""Implements the ports: MobileConnect over httpx, everything else over botocore."""
