"""What a version is and what it was made of, as a statement that others can check and that a key signs."""
