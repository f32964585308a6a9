"""Runs on Kubeflow Pipelines: submitted, followed, looked after, put on a schedule."""
