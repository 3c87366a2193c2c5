"""The sequential tests, which look at each row and label once: drift, accuracy, and the estimate without labels.

Their alarms are calibrated, so that they may be looked at as often as one likes.
"""
