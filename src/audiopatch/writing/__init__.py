"""Labels back into the music's own tags: what would change, the change made safely, and the way back."""
