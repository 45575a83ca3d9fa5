"""The documents of the demo and of the tests, the tool that makes the binary ones, and the demo itself.

`documents/<tenant>/` is what gets published, `sources/` what the binary formats are made from (`python -m samples.make`),
`pii.json` every planted value, `questions.json` questions with the documents that answer them. All people, addresses,
numbers and accounts are invented. No package of the product imports this one.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
DOCUMENTS = FOLDER / "documents"
