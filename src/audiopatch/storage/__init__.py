"""Files that are elsewhere (S3 and whatever else fsspec reaches): named by URLs, listed, read in ranges, written."""
