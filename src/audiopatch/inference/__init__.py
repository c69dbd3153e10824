"""From tracks to rows: decoded audio in batches across tracks through the model, pooled, recorded."""
