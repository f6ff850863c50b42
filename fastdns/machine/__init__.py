"""What commands, doctor and server all need to know of the machine that they run on."""
