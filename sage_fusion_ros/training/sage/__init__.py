"""The whole SAGE method: teacher, student, semantic priors, and how they are trained together."""
