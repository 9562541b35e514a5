"""Where pairs come from: the synthetic scene, folders, videos and bags."""
