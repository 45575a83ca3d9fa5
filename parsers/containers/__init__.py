"""Documents that contain documents: archives, compressed files and messages. Members and attachments become children."""
