"""Clips with sound and pictures: their lists, files, records and transforms."""
