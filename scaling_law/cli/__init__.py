"""One file a group of commands: ``add`` declares their parsers, each with its handler."""
