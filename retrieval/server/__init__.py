"""The server: search and documents over HTTP, and for language models (MCP). `app` makes it of callables (`doors.Doors`).

It knows neither how a question is redacted nor where keys are stored: `pipelines.operations.serve` does. One module per concern: `caller`
(who asks), `tokens` and `local` (credentials that are signed), `rates`, `guard` (sizes, times, headers), `refusals` (errors as answers),
`schema` (what requests and answers look like), `routes`, `service`, `metrics`.
"""
