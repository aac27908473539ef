"""Which collector takes which part of the gateways."""
