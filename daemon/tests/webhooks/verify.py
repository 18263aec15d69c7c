"""Reads requests as JSON lines and verifies each with the package that receivers use; prints what does not verify, and the count."""

import json
import sys

from standardwebhooks import Webhook

verified = 0
for line in sys.stdin:
    request = json.loads(line)
    body = Webhook(request["secret"]).verify(request["body"].encode(), request["headers"])
    assert isinstance(body, dict), body
    verified += 1
print(verified)
