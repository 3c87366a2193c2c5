"""The prediction service: it answers with the champion's predictions, and takes labels that arrive later.

An answer is sent after its rows are in the log, from which monitoring and retraining begin.
"""
