"""What bytes mean: the catalogue, blocks and receipts, JT/T 808. No I/O, no clock."""
