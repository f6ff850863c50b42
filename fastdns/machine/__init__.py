"""What commands, doctor and server all need to know about the machine."""
