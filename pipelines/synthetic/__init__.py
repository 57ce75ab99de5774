"""Bars that a generative network makes: channels, the network, and how real they look."""
