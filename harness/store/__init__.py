"""The store of results: runs, their records and curves, and their exchange between stores."""
