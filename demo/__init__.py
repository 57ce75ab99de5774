"""The closed loop walked once on real bars, for people to watch: `make demo`."""
