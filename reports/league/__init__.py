"""The league table as a page."""
