"""Where results are kept: runs, their records and curves, and how stores exchange them."""
