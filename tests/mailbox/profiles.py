"""The two profiles of imaptest's documentation, word for word."""

from typing import Final

POP3: Final = """\
lmtp_port = 24
lmtp_max_parallel_count = 175
total_user_count = 500
rampup_time = 5

user aggressive {
 username_format = testuser_%03n@example.com
 username_start_index = 501
 count = 100%

 mail_inbox_delivery_interval = 1s
 mail_spam_delivery_interval = 0
 mail_action_delay = 2s
 mail_action_repeat_delay = 1s }

client pop3 {
 count = 95%
 connection_max_count = 1
 protocol = pop3
 pop3_keep_mails = no
 login_interval = 7s }

client pop3 {
 count = 5%
 connection_max_count = 1
 protocol = pop3
 pop3_keep_mails = yes
 login_interval = 1min }
"""

ADVANCED: Final = """\
lmtp_port = 24
lmtp_max_parallel_count = 175
total_user_count = 500
rampup_time = 5s

user aggressive {
 username_format = testuser_%03n@example.com
 username_start_index = 501
 count = 10%
 mail_inbox_delivery_interval = 5s
 mail_spam_delivery_interval = 0
 mail_action_delay = 2s
 mail_action_repeat_delay = 1s
 mail_session_length = 3 min
 mail_send_interval = 0
 mail_write_duration = 0
 mail_inbox_reply_percentage = 50
 mail_inbox_delete_percentage = 5
 mail_inbox_move_percentage = 5
 mail_inbox_move_filter_percentage = 10 }

user normal {
 username_format = testuser_%03n@example.com
 username_start_index = 501
 count = 90%
 mail_inbox_delivery_interval = 120s
 mail_spam_delivery_interval = 0
 mail_action_delay = 3 min
 mail_action_repeat_delay = 10s
 mail_session_length = 20 min
 mail_send_interval = 0
 mail_write_duration = 0
 mail_inbox_reply_percentage = 0
 mail_inbox_delete_percentage = 80
 mail_inbox_move_percentage = 5
 mail_inbox_move_filter_percentage = 10 }

client Thunderbird {
 count = 80%
 connection_max_count = 2
 imap_idle = yes
 imap_fetch_immediate = UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type)]
 imap_fetch_manual = RFC822.SIZE BODY[]
 imap_status_interval = 5 min }

client AppleMail {
 count = 20%
 connection_max_count = 2
 imap_idle = yes
 imap_fetch_immediate = INTERNALDATE UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (date subject from to cc message-id in-reply-to references x-priority x-uniform-type-identifier x-universally-unique-identifier)] MODSEQ
 imap_fetch_manual = BODYSTRUCTURE BODY.PEEK[]
 imap_status_interval = 5 min }
"""  # noqa: E501
