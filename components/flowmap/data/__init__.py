"""What data_prep writes and every later step reads."""
