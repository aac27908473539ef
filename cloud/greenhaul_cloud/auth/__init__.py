"""Who asks, and what they may see: secrets, passwords, roles."""
