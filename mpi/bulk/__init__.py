"""The same model over millions of rows at once: definitions compiled to SQL, run by an embedded columnar engine."""
