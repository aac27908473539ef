"""The agent on a gateway: sources, outbox, uplink."""
