"""Formats that are text: plain text, source code, CSV, subtitles, reStructuredText, JSON and XML. HTML and Markdown are in `docling`."""
