"""Publishing what the gate promoted, recording what it rejected."""
