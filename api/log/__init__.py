"""The write side of the log: journals, the parts they are sealed into, and what keeps the folders small and sound.

An answer of 200 means that its rows are in a journal; everything after that can be killed and done again.
"""
