"""What one look at the window found, as plain frozen data.

The exporter makes metrics of it, and the archive keeps it with its report.
"""
