"""What is measured, by which protocol."""
