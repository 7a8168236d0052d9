"""Data sets; each module is imported by itself."""
