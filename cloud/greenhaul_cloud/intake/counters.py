"""What the intake counts, for /metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class IntakeCounters:
    """Counters of one intake in a registry of the caller's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.blocks = Counter(
            "greenhaul_intake_blocks", "Blocks taken from the broker", ["result"], registry=registry
        )
        self.misdirected = Counter(
            "greenhaul_intake_misdirected",
            "Messages whose topic is not one a gateway has; with a shard or lane that is not the "
            "gateway's they are kept in quarantine",
            ["reason"],
            registry=registry,
        )
        self.numbers = Counter(
            "greenhaul_intake_readings",
            "Reading numbers settled, by what first settled them",
            ["outcome"],
            registry=registry,
        )
        self.damaged = Counter(
            "greenhaul_intake_damaged_blocks",
            "Blocks that settle nothing, kept as evidence, by what is wrong with them",
            ["cause"],
            registry=registry,
        )
        self.aside = Counter(
            "greenhaul_intake_quarantined_readings",
            "Readings set aside, those sent again among them, by what is wrong with them",
            ["cause"],
            registry=registry,
        )
        self.receipts = Counter("greenhaul_intake_receipts", "Receipts sent", registry=registry)
        self.retries = Counter(
            "greenhaul_intake_store_retries", "Flushes the store could not take", registry=registry
        )
        self.overruns = Counter(
            "greenhaul_intake_overruns",
            "Messages left unacknowledged because the queue was full",
            registry=registry,
        )
        self.connects = Counter(
            "greenhaul_intake_connects", "Connections to the broker", registry=registry
        )
        self.is_connected = Gauge(
            "greenhaul_intake_connected", "Sessions subscribed at the broker", registry=registry
        )
        self.shards = Gauge(
            "greenhaul_intake_shards", "Shards this collector takes", registry=registry
        )
        self.queued = Gauge(
            "greenhaul_intake_queued_messages", "Messages waiting to be stored", registry=registry
        )
        self.flush_s = Histogram(
            "greenhaul_intake_flush_seconds",
            "One flush, from the first block to its commit",
            buckets=(0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
            registry=registry,
        )
