"""What every type of source must stand: `greenhaul-edge test-source NAME`."""
