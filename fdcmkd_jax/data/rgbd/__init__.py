"""Pictures with depth and a label for every pixel: records, host's and device's stage."""
