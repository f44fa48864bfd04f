"""Everything that people look at: plots, pages, artifacts and the small CSV files."""
