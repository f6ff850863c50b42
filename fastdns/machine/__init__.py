"""Knowledge about the machine that commands, doctor and server share."""
