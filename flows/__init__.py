"""What runs: one file a flow, each a table of contents of the tasks it calls."""
