"""Counts as CloudWatch metrics (EMF), through Powertools."""

import threading

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit


class MetricsCounter:
    """The `Counter` port."""

    def __init__(self, metrics: Metrics) -> None:
        """`metrics` is flushed by whoever handles the invocation."""
        self._metrics = metrics
        self._lock = threading.Lock()  # the sends of a batch run in threads

    def count(self, name: str, value: int = 1) -> None:
        """Add to a count of this invocation."""
        with self._lock:
            self._metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
