"""The configurations of our private Dovecots, in the words of the Dovecot that is installed.

They are written for 2.3. From 2.4 on many settings have other names and variables another form, as its guide says:
https://doc.dovecot.org/2.4.0/installation/upgrade/2.3-to-2.4.html. What is translated is what these configurations use.
"""

import functools
import re
import subprocess
from typing import Final

from tests.conftest import program

_BLOCKS: Final = {
    "passdb {\n *driver = static\n *args = password=(.*)\n}": "passdb static {\n  password = \\1\n}",
    "passdb {\n *driver = static\n *args = nopassword=y\n}": (
        "passdb static {\n  fields {\n    nopassword = yes\n  }\n}"
    ),
    "passdb {\n *driver = passwd-file\n *args = scheme=PLAIN username_format=%u (.*)\n}": (
        "passdb passwd-file {\n  default_password_scheme = PLAIN\n  passwd_file_path = \\1\n}"
    ),
    "userdb {\n *driver = static\n *args = uid=(\\S+) gid=(\\S+) home=(\\S+) allow_all_users=yes\n}": (
        "userdb static {\n  allow_all_users = yes\n  fields {\n    uid = \\1\n    gid = \\2\n    home = \\3\n  }\n}"
    ),
    "userdb {\n *driver = static\n *args = uid=(\\S+) gid=(\\S+) home=(\\S+)\n}": (
        "userdb static {\n  fields {\n    uid = \\1\n    gid = \\2\n    home = \\3\n  }\n}"
    ),
    "plugin {\n((?: .*\n)*)}": "\\1",
    "mail_plugins = (\\S+) (\\S+)": "mail_plugins {\n  \\1 = yes\n  \\2 = yes\n}",
    "disable_plaintext_auth = no": "auth_allow_cleartext = yes",
    "disable_plaintext_auth = yes": "auth_allow_cleartext = no",
    "mail_location = maildir:(\\S+)": "mail_driver = maildir\nmail_path = \\1\nmail_inbox_path =",
    "ssl_cert = <": "ssl_server_cert_file = ",
    "ssl_key = <": "ssl_server_key_file = ",
    "  group_by = (\\S+)": "  group_by \\1 {\n  }",
    "  service_count = 0": "  restart_request_count = unlimited",
    "\n *address = ": "\nlisten = ",
    "pop3_uidl_format = .*": "pop3_uidl_format = %{uid | hex(8)}%{uidvalidity | hex(8)}",
    "pop3_logout_format = .*": "pop3_logout_format = retr=%{retr_count} del=%{deleted_count}/%{message_count}",
    "%u": "%{user}",
}


@functools.cache
def is_new() -> bool:
    """Whether it is 2.4 or later."""
    said = subprocess.run([program("dovecot", "dovecot-core"), "--version"], capture_output=True, text=True, check=True)
    return tuple(map(int, said.stdout.split()[0].split(".")[:2])) >= (2, 4)


def in_its_words(config: str) -> str:
    """A configuration for 2.3 as the installed Dovecot wants it."""
    if not is_new():
        return config
    for old, new in _BLOCKS.items():
        config = re.sub(old, new, config)
    return f"dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n{config}"
