"""Training of the perception network: labels, fused samples, assignment and losses."""
