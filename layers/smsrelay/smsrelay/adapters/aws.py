"""Clients of AWS's services: botocore's own, of one session."""

from typing import TYPE_CHECKING

import botocore.session

if TYPE_CHECKING:
    import boto3
    from botocore.config import Config


class Aws:
    """Makes clients. boto3 would make the same ones, and import S3's transfers before."""

    def __init__(self) -> None:
        """Region and credentials are those of the environment."""
        self._session = botocore.session.Session()

    if TYPE_CHECKING:  # which client a service's name stands for, boto3's types say
        client = boto3.Session().client
    else:

        def client(self, service: str, config: "Config") -> object:
            """A client of a service."""
            return self._session.create_client(service, config=config)
