"""What is published beside a version's weights, made from its evidence, for people and for other tools."""
