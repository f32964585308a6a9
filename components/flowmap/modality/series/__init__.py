"""Series of numbers, and what comes next: a datum is a window's future, its context the past before it."""
