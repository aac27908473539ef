"""A broker that forgets, repeats, reorders, refuses and dies, and the links to it.

It keeps what MQTT promises of order: a publisher's messages on one topic reach the collector in
their order, though perhaps more than once, or not at all.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.world import Process, World

from greenhaul_cloud.intake.worker import Delivery, IntakeWorker
from greenhaul_cloud.store.inspection import receive_block
from greenhaul_edge.uplink.wire import Acked, Arrived, Closed, Connected, WireEvent
from greenhaul_protocols.errors import DecodeError, Unavailable
from greenhaul_protocols.receipt import Receipt, encode_receipt
from greenhaul_protocols.topics import parse_up_topic, receipt_topic

# Messages the broker has with the collector at once.
_IN_FLIGHT_MAX = 20
# What TCP_USER_TIMEOUT makes of a link on which nothing passes.
_USER_TIMEOUT_S = 30.0


@dataclass
class Habits:
    """How bad broker and links are. Probabilities are of a message unless said otherwise."""

    delay_s: tuple[float, float] = (0.005, 0.2)
    repeat: float = 0.0  # the collector gets it twice
    refuse: float = 0.0  # its PUBACK says no
    swallow: float = 0.0  # its PUBACK says yes, and that was all
    receive_max: int | None = None
    queue_max: int = 1_000  # for a collector that is away; the rest is dropped, as Mosquitto does
    is_retaining: bool = True
    forgets: float = 0.0  # of a crash: everything that was not delivered
    receipt_loss: float = 0.0
    receipt_reorder: float = 0.0
    receipt_echo: float = 0.0  # it comes once more, when it is old
    rate_bytes_per_s: float = 1e6  # of a gateway's uplink


@dataclass
class Counts:
    """What was done, so that a run can show that it was trouble."""

    published: int = 0
    delivered: int = 0
    repeated: int = 0
    refused: int = 0
    forgotten: int = 0
    swallowed: int = 0
    receipts: int = 0
    receipts_lost: int = 0
    crashes: int = 0
    cuts: int = 0
    severed: int = 0


@dataclass(eq=False)
class _Message:
    topic: str
    payload: bytes
    number: int = 0
    is_sent: bool = False


@dataclass
class SimBroker:
    """One broker, its publishers, and its one collector with a persistent session."""

    world: World
    habits: Habits
    counts: Counts = field(default_factory=Counts)
    is_up: bool = True
    # What a planted fault does to a receipt on its way; None loses it.
    tamper: Callable[[Receipt], Receipt | None] = lambda receipt: receipt

    def __post_init__(self) -> None:
        self.wires: dict[str, EdgeWire] = {}
        self.retained: dict[str, bytes] = {}
        self.collector: CollectorWire | None = None
        self._queue: deque[_Message] = deque()  # the collector's session, in order
        self._number = 0

    def crash(self, down_s: float) -> None:
        """Every connection breaks; what is not on its disk is forgotten."""
        self.counts.crashes += 1
        self.is_up = False
        for wire in list(self.wires.values()):
            wire.break_off("the broker died")
        if self.collector is not None:
            self.collector.break_off()
        if self.world.chance(self.habits.forgets):
            self.counts.forgotten += len(self._queue)
            self._queue.clear()
            self.retained.clear()
        self.world.later(down_s, self._rise)

    def _rise(self) -> None:
        self.is_up = True

    # -- publishers -----------------------------------------------------------------------------

    def take(self, topic: str, payload: bytes) -> str | None:
        """A message of a gateway came; why it is refused, or None."""
        try:
            parse_up_topic(topic)
        except DecodeError:
            return None  # presence: nobody here reads it
        self.counts.published += 1
        if self.world.chance(self.habits.refuse):
            self.counts.refused += 1
            return "quota exceeded"
        is_over = self.collector is None and len(self._queue) >= self.habits.queue_max
        if is_over or self.world.chance(self.habits.swallow):
            self.counts.swallowed += 1  # and the PUBACK says that all is well
            return None
        self._queue.append(_Message(topic, payload))
        self.deliver()
        return None

    # -- the collector --------------------------------------------------------------------------

    def attach(self, wire: "CollectorWire") -> None:
        """The collector's session goes on: what it did not acknowledge comes again."""
        self.collector = wire
        for message in self._queue:
            message.is_sent = False
        self.deliver()

    def deliver(self) -> None:
        """Send what the session's window has room for."""
        wire = self.collector
        if wire is None or not self.is_up:
            return
        under_way = sum(message.is_sent for message in self._queue)
        for message in self._queue:
            if under_way >= _IN_FLIGHT_MAX:
                return
            if message.is_sent:
                continue
            self._number += 1
            message.number, message.is_sent = self._number, True
            under_way += 1
            wire.carry(message.topic, message.payload, message.number)
            if self.world.chance(self.habits.repeat):
                self.counts.repeated += 1
                wire.carry(message.topic, message.payload, message.number)

    def acknowledged(self, number: int) -> None:
        """The collector has it."""
        for message in self._queue:
            if message.number == number and message.is_sent:
                self._queue.remove(message)
                self.counts.delivered += 1
                break
        self.deliver()

    def publish_receipt(self, receipt: Receipt) -> None:
        """A receipt for a gateway."""
        found = self.tamper(receipt)
        if found is None:
            return
        payload = encode_receipt(found)
        topic = receipt_topic(receipt.gateway)
        self.counts.receipts += 1
        if self.habits.is_retaining:
            self.retained[topic] = payload
        wire = self.wires.get(receipt.gateway)
        if wire is None or self.world.chance(self.habits.receipt_loss):
            self.counts.receipts_lost += 1
            return
        wire.tell(payload, is_retained=False)
        if self.world.chance(self.habits.receipt_echo):
            self.world.later(self.world.random.uniform(1, 60), self._echo, receipt.gateway, payload)

    def _echo(self, gateway: str, payload: bytes) -> None:
        wire = self.wires.get(gateway)
        if wire is not None:
            wire.tell(payload, is_retained=False)


class EdgeWire:
    """A `Wire` of the uplink: one connection of a gateway to the broker."""

    def __init__(
        self,
        broker: SimBroker,
        process: Process,
        gateway: str,
        connection: int,
        report: Callable[[WireEvent], None],
    ) -> None:
        self._broker, self._world, self._process = broker, broker.world, process
        self._gateway, self._connection, self._report = gateway, connection, report
        self._is_open = self._is_over = self._is_severed = False
        self._message = 0
        self._up_ns = self._down_ns = 0
        self._tell_edge(self._connect)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        is_retained: bool = False,  # noqa: ARG002
    ) -> int:
        """As `Wire.publish`."""
        if not self._is_open:
            raise Unavailable("not connected")
        self._message += 1
        self._up_ns += round(len(payload) / self._broker.habits.rate_bytes_per_s * 1e9)
        self._up_ns = self._in_order(self._up_ns)
        delay_s = (self._up_ns - self._world.now_ns) / 1e9
        self._world.later(delay_s, self._arrive, topic, payload, self._message)
        return self._message

    def date_fault(self, utc_ms: int) -> str | None:  # noqa: ARG002
        """As `Wire.date_fault`: there is no TLS here."""
        return None

    def close(self, farewell: bytes | None = None) -> None:  # noqa: ARG002
        """As `Wire.close`."""
        self._is_over = True
        self._is_open = False
        if self._broker.wires.get(self._gateway) is self:
            del self._broker.wires[self._gateway]

    def break_off(self, reason: str) -> None:
        """The connection is gone, and the edge is told."""
        if not self._is_over:
            self.close()
            self._tell_edge(self._say, Closed(self._connection, reason))

    def sever(self) -> None:
        """Nothing passes any more; only time tells."""
        self._is_severed = True
        self._world.later(_USER_TIMEOUT_S, self.break_off, "timed out")

    def tell(self, payload: bytes, *, is_retained: bool) -> None:
        """A receipt on its way to the edge."""
        self._tell_edge(
            self._say, Arrived(self._connection, payload, is_retained),
            may_overtake=self._world.chance(self._broker.habits.receipt_reorder),
        )  # fmt: skip

    def _connect(self) -> None:
        if self._is_over:
            return
        if not self._broker.is_up:
            self._is_over = True
            self._say(Closed(self._connection, "connection refused"))
            return
        before = self._broker.wires.get(self._gateway)
        if before is not None:
            before.break_off("taken over")
        self._broker.wires[self._gateway] = self
        self._is_open = True
        self._say(Connected(self._connection, self._broker.habits.receive_max))
        retained = self._broker.retained.get(receipt_topic(self._gateway))
        if retained is not None:
            self.tell(retained, is_retained=True)

    def _arrive(self, topic: str, payload: bytes, message: int) -> None:
        """At the broker: what was under way when the connection broke may still come."""
        broker = self._broker
        if self._is_severed or not broker.is_up or (self._is_over and self._world.chance(0.5)):
            return
        failure = broker.take(topic, payload)
        if not self._is_over:
            self._tell_edge(self._say, Acked(self._connection, message, failure))

    def _tell_edge(
        self, what: Callable[..., None], *arguments: object, may_overtake: bool = False
    ) -> None:
        at_ns = self._in_order(0 if may_overtake else self._down_ns)
        self._down_ns = max(self._down_ns, at_ns)
        delay_s = (at_ns - self._world.now_ns) / 1e9
        self._world.later(delay_s, what, *arguments, process=self._process)

    def _in_order(self, before_ns: int) -> int:
        """When something sent now arrives: not before what was sent earlier."""
        delay_s = self._world.random.uniform(*self._broker.habits.delay_s)
        return max(self._world.now_ns + round(delay_s * 1e9), before_ns + 1)

    def _say(self, event: WireEvent) -> None:
        if not self._is_severed or isinstance(event, Closed):
            self._report(event)


class CollectorWire:
    """The intake's `Wire`: the collector's connection, made anew whenever it breaks."""

    def __init__(self, broker: SimBroker, process: Process) -> None:
        self._broker, self._world, self._process = broker, broker.world, process
        self._worker: IntakeWorker | None = None
        self._generation = 0
        self._is_connected = False
        self._at_ns = 0

    def start(self, worker: IntakeWorker) -> None:
        """Connect, and stay connected."""
        self._worker = worker
        self._connect()

    def acknowledge(self, delivery: Delivery) -> None:
        """As `Wire.acknowledge`."""
        if delivery.generation == self._generation and self._is_connected:
            number, generation = delivery.message_id, self._generation
            self._world.later(self._delay_s(), self._acknowledged, number, generation)

    def publish_receipt(self, receipt: Receipt) -> bool:
        """As `Wire.publish_receipt`. What was given to the socket may still be lost."""
        if not self._is_connected:
            return False
        self._world.later(self._delay_s(), self._publish, receipt, self._generation)
        return True

    def renew(self) -> None:
        """As `Wire.renew`."""
        self.break_off()

    def carry(self, topic: str, payload: bytes, number: int) -> None:
        """A message on its way to the intake."""
        gateway, lane = parse_up_topic(topic)
        block = receive_block(gateway, lane, payload)
        delivery = Delivery(block, number, 1, self._generation)
        self._at_ns = max(self._world.now_ns + round(self._delay_s() * 1e9), self._at_ns + 1)
        delay_s = (self._at_ns - self._world.now_ns) / 1e9
        self._world.later(delay_s, self._give, delivery, process=self._process)

    def break_off(self) -> None:
        """The connection is gone; another is made in a while."""
        self._is_connected = False
        self._generation += 1
        if self._broker.collector is self:
            self._broker.collector = None
        self._world.later(self._world.random.uniform(0.5, 5), self._connect, process=self._process)

    def _connect(self) -> None:
        if not self._broker.is_up:
            self.break_off()
            return
        self._is_connected = True
        self._broker.attach(self)

    def _give(self, delivery: Delivery) -> None:
        assert self._worker is not None
        if delivery.generation == self._generation and not self._worker.deliver(delivery):
            self.break_off()

    def _acknowledged(self, number: int, generation: int) -> None:
        if generation == self._generation and self._broker.is_up:
            self._broker.acknowledged(number)

    def _publish(self, receipt: Receipt, generation: int) -> None:
        if generation == self._generation and self._broker.is_up:
            self._broker.publish_receipt(receipt)

    def _delay_s(self) -> float:
        return self._world.random.uniform(0.001, 0.02)
