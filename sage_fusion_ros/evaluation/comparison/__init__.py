"""Fusion models and other people's results side by side: who is scored on what, the work, and the report."""
