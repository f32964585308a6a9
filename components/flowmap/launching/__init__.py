"""Starting training processes: on this machine with torchrun, or on other nodes with Kubeflow Trainer."""
