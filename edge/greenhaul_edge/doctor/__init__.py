"""What is wrong with a gateway, by name, and what to do about it."""
