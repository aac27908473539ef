"""Intake: MQTT to blocks to store to receipts."""
