"""The commands profile and report: any Parquet data set against a reference, without a running stack.

A data set is profiled on all cores or on Spark, and the tests run on the profile.
"""
