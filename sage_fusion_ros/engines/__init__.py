"""Runs a model file on a device."""
