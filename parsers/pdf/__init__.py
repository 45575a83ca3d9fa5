"""PDFs and pictures: words and rules of each page, reading order and blocks by geometry, docling's models, text recognition."""
