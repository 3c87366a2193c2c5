"""What all services share: config.yml, settings, log lines, the files under DATA_DIR and how they are read.

It is the one package of the monitor that the API and the flows import, and it needs the base dependencies alone.
"""
