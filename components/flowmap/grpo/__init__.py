"""Group-relative policy optimisation of a flow map: the trainer, its objective, advantages and KL
controller."""
