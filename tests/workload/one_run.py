"""The run whose messages tests look at."""

import re

DATE = "Fri, 21 Nov 2025 22:55:00 +0000"
RUN_ID = "9f3a6c1e02b4d857"


def rcpts(message):
    return re.findall(rb"^RCPT TO:<(.+)>\r$", message.envelope, re.MULTILINE)
