"""The demo: every deliverable as a process of its own, on loopback, in one folder."""
