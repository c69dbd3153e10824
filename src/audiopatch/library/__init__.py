"""What to do with the tables of a run: similar tracks, playlists, duplicates, own labels, a page to look at."""
