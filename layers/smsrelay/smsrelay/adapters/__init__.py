"""The ports, implemented: MobileConnect over httpx, everything else over botocore."""
