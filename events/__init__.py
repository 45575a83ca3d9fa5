"""Document events: from a source system's change to a document's newest state in Postgres, and back to it as an outcome.

`contract`, `strict_json`, `schema/`  what a valid event is, and what it means
`publish`     publishes events, for source systems
`kafka/`      reads records from a tenant's topic
`positions`   where reading continues, kept in Postgres; topics that were recreated, cut or emptied
`landing`     one batch: events, documents, dead letters and the position in one transaction
`digests`     keyed digests that stand for ids and contents in Postgres
`children`    documents inside documents, such as attachments
`replay`      lands records again: dead letters, or ranges of a topic
`outcomes`    publishes outcomes and reads them, for source systems; when one is decided is in `core.outcomes`
`fetch/`      content by reference

What stages compute from a landed document does not belong here.
"""
