"""The receiving side: takes all mail, relays none, and keeps a ledger of what arrived."""
