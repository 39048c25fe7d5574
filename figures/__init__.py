"""Figures of the study: one script each, drawn from kept runs."""
