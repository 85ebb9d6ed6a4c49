"""Linear operators on sounds."""
