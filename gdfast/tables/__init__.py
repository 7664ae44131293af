"""Rows of data: files read as columns, missing values, columns encoded as numbers.

It uses no other room.
"""
