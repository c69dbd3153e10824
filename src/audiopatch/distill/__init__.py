"""Distillation: a student learns to answer as its teachers do, on music without labels."""
