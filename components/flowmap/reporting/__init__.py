"""Who is told what a run came to: the run's summary in the store, a webhook, MLflow."""
