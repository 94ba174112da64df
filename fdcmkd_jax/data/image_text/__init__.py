"""Pairs of a picture and a text: their records, transform and preprocessing."""
