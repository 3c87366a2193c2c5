"""The sample data, drawn from committed statistics, and the simulator that sends it to a running API.

Drifts and late labels are part of the traffic.
"""
