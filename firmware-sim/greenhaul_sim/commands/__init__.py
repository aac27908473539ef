"""What greenhaul-sim can do: one module a command, each with its arguments and its run."""
