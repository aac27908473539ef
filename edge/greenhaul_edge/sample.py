"""The configuration `init` writes; edge.sample.toml is a copy of it."""

SAMPLE = """\
# Configuration of greenhaul-edge. Paths are relative to this file.

[gateway]
id = "gw-1"                     # letters, digits, dots, _ and -; known to the cloud by this name
# vehicle = "truck-7"           # suggested binding of the gateway's own inputs
timezone = "Asia/Shanghai"

[outbox]
path = "outbox"                 # a folder on a disk that keeps what it is told to keep
size_max_mb = 512               # at 90 % terminals are held back; then GNSS and CAN are evicted
commit_window_s = 5.0           # what a power cut may take from sources that cannot resend
grace_mb = 64                   # delivered readings kept, in case the cloud loses its store
grace_hours = 48
# live_lanes = 8                # in front of thousands of terminals: each lane drains by itself

[uplink]
host = "127.0.0.1"
port = 1883
# tls = true
# ca_file = "ca.pem"
# username = "gw-1"
# password_file = "mqtt.password"
send_window_s = 10.0            # live readings wait this long for company; alarms do not
keepalive_s = 60

[sources.terminals]
type = "jt808"
listen = "127.0.0.1:8808"       # port 0: any free one, see `greenhaul-edge status`
auth = "register"               # or "allow-list" with allow = ["13912345678"], or "open"
# rsa_key_file = "terminals.key"  # opens bodies that terminals encrypt
# connections_max = 20000       # open files allowed must be more, see LimitNOFILE in the unit

# [sources.datagrams]           # terminals that speak UDP; as many sources as you like
# type = "jt808"
# listen = "127.0.0.1:8809"
# transport = "udp"
# auth = "allow-list"
# allow = ["13912345678", "13900000001 豫R12345"]  # a number, or number and plate

# [sources.gnss]
# type = "gnss"
# port = "/dev/ttyUSB0"         # or /dev/serial/by-id/…, "usb:1546:01a8", "gpsd://127.0.0.1:2947"
# baud = "auto"                 # is found; or 9600
# cadence_s = 1.0               # at most one position in so long

# [sources.battery]
# type = "can"
# interface = "socketcan"       # or another of python-can's: "slcan", "pcan", "kvaser", …
# channel = "can0"              # with slcan the adapter's port, "/dev/ttyACM0"
# bitrate = 250000              # SocketCAN has it from `ip link set can0 type can bitrate 250000`
# mapping = "j1939-hvess"       # a shipped one, or a file like battery.sample.toml
# cadence_s = 10                # every second while charging begins or ends, and around faults
# polling = false               # true: send the mapping's [[requests]]; only then is it written to
"""
