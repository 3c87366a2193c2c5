"""Many models in one process: a monitor for each config file of a folder, their cycles spread over few threads."""
