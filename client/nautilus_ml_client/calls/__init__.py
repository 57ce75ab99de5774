"""The calls of the client, each written once as a `Flow`; they send nothing themselves."""
