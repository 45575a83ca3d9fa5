"""The sample documents of the demo and the tests, the generator of the binary ones, and the demo.

`documents/<tenant>/` contains the documents to publish, `sources/` the sources of the binary formats (`python -m samples.make`),
`pii.json` every personal value in them, and `questions.json` questions with the documents that answer them. All people, addresses,
numbers and accounts are invented. No other package imports this one.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
DOCUMENTS = FOLDER / "documents"
