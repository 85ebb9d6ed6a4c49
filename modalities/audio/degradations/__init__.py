"""Degradations of sounds."""
