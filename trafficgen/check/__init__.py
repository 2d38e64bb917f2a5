"""Is a mail server set up right? The walk that an operator does by hand, as findings.

conversation   one connection: lines, replies, TLS, what was said
service        which services there are, what is known of the server under test
cases          every case: its id, what is expected, where that is written, what to do
smtp login tls relay mailbox delivery ports   the walks: a session each, which decides some of the cases
walks          all of them in order, each with a limit
"""
