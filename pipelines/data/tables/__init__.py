"""Tables as rows: columns, the target, and what gives the target away."""
