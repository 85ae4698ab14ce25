"""Records CloudWatch metrics (EMF) with Powertools."""

import threading

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit


class PowertoolsMetrics:
    """The `Metrics` port."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()  # the sends of a batch run in threads

    def count(self, name: str, value: int = 1) -> None:
        with self._lock:
            self._metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)

    def time(self, name: str, seconds: float) -> None:
        with self._lock:
            value = round(seconds * 1_000, 1)
            self._metrics.add_metric(name=name, unit=MetricUnit.Milliseconds, value=value)

    def flush(self) -> None:
        """Print this invocation's metrics, if any: CloudWatch reads them from the log."""
        if self._metrics.metric_set:  # Powertools warns about an empty set
            self._metrics.flush_metrics()
