"""sage-fusion <verb>: thin, calls the rooms."""
