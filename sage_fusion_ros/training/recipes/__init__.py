"""One recipe a method: the network, and the loss of one batch."""
