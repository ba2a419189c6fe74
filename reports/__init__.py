"""Reads results and writes Markdown, tables and figures. Nothing here runs a stage or imports torch."""
