"""What the service counts, in the form that Prometheus reads (`GET /metrics`); names follow its conventions."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Counted:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        here: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("keel_requests", "Requests answered", ["route", "code", "arm"], **here)
        self.seconds = Histogram("keel_request_seconds", "Time to answer", ["route"], buckets=SECONDS, **here)
        self.batches = Histogram("keel_batch_size", "Images in a forward pass", buckets=SIZES, **here)
        self.flags = Counter("keel_guard_flags", "Images above a guard's threshold", ["guard"], **here)
        self.abstentions = Counter("keel_abstentions", "Images without a label", ["arm"], **here)
        self.rejections = Counter("keel_rejections", "Requests or images turned away", ["reason"], **here)
        self.off_path = Counter("keel_off_path", "Images asked off the path", ["outcome"], **here)
        self.log_lag = Gauge("keel_log_lag_seconds", "Age of the oldest row that is not on disk", **here)
        self.log_lost = Gauge("keel_log_lost_total", "Rows that the log gave up", **here)
        self.model = Gauge("keel_model_info", "Versions in service", ["alias", "version", "digest"], **here)
        self.registry_up = Gauge("keel_registry_up", "Whether the registry was read the last time", **here)
        self.waiting = Gauge("keel_waiting_images", "Images that wait for a worker", **here)

    @staticmethod
    def total(counter: Counter, **labels: str) -> int:
        """What a counter has counted under these labels."""
        samples = [
            sample for metric in counter.collect() for sample in metric.samples if sample.name.endswith("_total")
        ]
        return int(sum(sample.value for sample in samples if labels.items() <= sample.labels.items()))

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self.registry)
