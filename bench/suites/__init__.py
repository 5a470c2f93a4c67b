"""Suites: named lists of cases, and seasons of cases that nobody has seen."""
