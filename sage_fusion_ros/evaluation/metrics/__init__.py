"""Metrics of a fused image beside its two sources: one file an idea, joined into profiles by `profiles.py`."""
