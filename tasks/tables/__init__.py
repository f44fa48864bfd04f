"""Tables as streams: CSV, Parquet and queries read, rejects explained, CSV and Parquet written, for both wings."""
