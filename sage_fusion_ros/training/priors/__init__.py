"""Semantic priors: which regions of a pair belong together, from SAM, from label maps or drawn by hand."""
