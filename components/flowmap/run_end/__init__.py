"""What is done when a run on a cluster has ended, however it did."""
