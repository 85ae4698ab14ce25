"""Clients of AWS's services: botocore's own, of one session."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import botocore.session
from botocore.exceptions import DataNotFoundError
from botocore.loaders import Loader

from smsrelay.adapters.keepalive import connections
from smsrelay.adapters.quick_calls import QuickClient, in_place_of

if TYPE_CHECKING:
    import boto3
    from botocore.config import Config

DATA: Final = Path(__file__).parents[2] / "aws_data"
"""botocore's data of the operations that the adapters call (`supply.aws_data`)."""

CONNECTIONS: Final = 50
"""How many there are at once at most, to all services together."""


class Aws:
    """Makes clients. boto3 would make the same ones, and import S3's transfers before."""

    def __init__(self) -> None:
        """Region and credentials are those of the environment."""
        self._session = botocore.session.Session()
        self._session.register_component("data_loader", LittleLoader())
        self._session.register("creating-client-class", _with_quick_calls)
        self._connections = connections(CONNECTIONS, time.time)

    if TYPE_CHECKING:  # which client a service's name stands for, boto3's types say
        client = boto3.Session().client
    else:

        def client(self, service: str, config: "Config") -> object:
            """A client of a service."""
            client = self._session.create_client(service, config=config)
            client._endpoint = in_place_of(client, self._connections)  # noqa: SLF001 - there is no other way
            return client


def _with_quick_calls(**told: Any) -> None:  # noqa: ANN401 - botocore's events tell anything
    told["base_classes"].insert(0, QuickClient)


class LittleLoader(Loader):
    """Reads the data in use, and whatever else a newer botocore asks for where that has it."""

    def __init__(self) -> None:
        super().__init__(extra_search_paths=[str(DATA)], include_default_search_paths=False)
        self._all = Loader()

    def load_data_with_path(self, name: str) -> Any:  # noqa: ANN401 - as botocore types it
        """A file by its name without an ending, and where it lies."""
        try:
            return super().load_data_with_path(name)
        except DataNotFoundError:
            return self._all.load_data_with_path(name)

    def is_builtin_path(self, _path: str) -> bool:
        """Whether it is botocore's own; else the rules of its endpoints would not be taken."""
        return True
