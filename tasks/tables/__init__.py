"""Tables as streams of checked rows: read CSV, Parquet and queries, explain rejects, write CSV and Parquet."""
