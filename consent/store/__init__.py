"""SQL of the consent wing: tables and queries. Rows never leave this folder; facts and plain values do."""
