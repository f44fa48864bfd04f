"""Reading and writing tables as streams, CSV and Parquet, for both wings."""
