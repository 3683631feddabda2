"""SQL of the index: tables and queries. Rows never leave this folder; frozen dataclasses and tuples do."""
