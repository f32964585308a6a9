"""What is known of prompts beside their texts: what each demands, and what it is kept apart from."""
