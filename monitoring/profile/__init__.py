"""Profiles: rows as counts against the reference, which add up over parts, processes and machines.

The two-sample tests and measures that follow from such counts stand here too.
"""
