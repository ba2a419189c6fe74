"""What several released layouts share."""
