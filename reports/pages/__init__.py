"""Pages as files: their rendering, their index, and the site that they become."""
