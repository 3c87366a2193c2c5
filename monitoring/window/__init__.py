"""The window as a sum of profiles, one per part of the log.

Late labels, and rows that stand in several parts, change counts here and no row is read again for them.
"""
