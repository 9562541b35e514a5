"""PyTorch as an engine: the one room at run time that imports torch, entered only when engine.name is torch."""
