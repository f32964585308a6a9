"""Who made what, from what, when and where: the records an audit follows."""
