"""The page a person reads: how the model is and since when, which alerts fire, what the loop did.

It shows what the monitor saw last, and computes nothing.
"""
