"""What models are made from: bars, tables and texts, where they come from, and their features."""
