"""Base training: the flow map, and the many-step baseline it is measured against."""
