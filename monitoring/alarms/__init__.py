"""The sequential tests of drift and of harm, and the estimate of accuracy without labels.

The tests take each row and label once, and keep a promised mean time between false alarms however often they are read.
"""
