"""The binary Office formats of 1997 to 2003 (.doc, .ppt, .xls), read from their OLE compound files without another program."""
