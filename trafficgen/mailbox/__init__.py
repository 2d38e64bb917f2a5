"""Users of mailboxes: mail is delivered to them, they read it and throw it away, as an imaptest profile says."""
