"""The Kubernetes API: reaching it, why a pod waits, and what ended runs left."""
