"""How good a model is on labelled clips: its scores, figures with their uncertainty, and a report of them."""
