"""Studies, one declaration each: values, no logic. `published_*.csv` hold every number of the paper's tables."""
