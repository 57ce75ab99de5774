"""How models are made: sources, features, templates, architectures, stages and jobs."""
