"""Durable work: the queue of jobs, the worker that runs them, and one run of an entry point."""
