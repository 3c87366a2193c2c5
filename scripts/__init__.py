"""What developers and operators run: the local stack, the demo, previews, checks of configs and of the supply chain."""
