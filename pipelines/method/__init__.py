"""What is computed from labels, forecasts and returns: the quantitative method (docs/method.md)."""
