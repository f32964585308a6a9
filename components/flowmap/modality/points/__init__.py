"""Points of a plane: a mixture of which everything is known exactly, to learn the system on."""
