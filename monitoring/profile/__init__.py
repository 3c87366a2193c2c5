"""Profiles: counts of rows against the reference, which add up over parts, processes and machines.

The two-sample tests that are computed from such counts are here too.
"""
