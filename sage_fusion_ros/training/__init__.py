"""Losses, data and one recipe a method."""
