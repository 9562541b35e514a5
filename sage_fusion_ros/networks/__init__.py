"""PyTorch definitions, one network a file."""
