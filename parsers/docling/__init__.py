"""Formats that docling's readers parse (HTML, Office, e-books, …), conversion of its documents to blocks, and its model weights on disk.

PDFs by docling's models are read in `parsers.pdf`.
"""
