"""Steps: what one is, the DAG they make, the frame each runs in, and the version of its code."""
