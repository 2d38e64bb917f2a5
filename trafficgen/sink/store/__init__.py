"""What the sink keeps of each message: the ledger, captured messages."""
